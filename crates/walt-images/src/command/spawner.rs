//! Processes that end with the server.
//!
//! The kernel kills a process when the *thread* that started it ends (`PR_SET_PDEATHSIG`, prctl(2)), and threads of the
//! runtime come and go: one thread, which lives as long as the server, starts them all.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Order = Box<dyn FnOnce() + Send>;

static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();

/// Starts a process from that thread.
///
/// # Errors
/// Those of starting it, or that thread.
pub(super) async fn spawn(mut command: Command) -> io::Result<Child> {
    let runtime = Handle::current();
    let (answer, answered) = oneshot::channel();
    let order = Box::new(move || {
        let _inside = runtime.enter();
        // Nobody waits any more: the process is killed with its handle.
        let _ = answer.send(command.spawn());
    });
    orders()?.send(order).map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}

fn orders() -> io::Result<&'static Sender<Order>> {
    if let Some(orders) = ORDERS.get() {
        return Ok(orders);
    }
    let (sender, orders) = channel::<Order>();
    // Of two made at once, one is kept; the thread of the other ends with its sender.
    std::thread::Builder::new().name("processes".into()).spawn(move || {
        for order in orders {
            order();
        }
    })?;
    Ok(ORDERS.get_or_init(|| sender))
}
