//! Shells in images: who has one, who is in it now. What has to survive a restart is in the state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use walt_images::session::{Shell, Working};
use walt_images::turn::Turn;
use walt_model::{ImageFullName, UserName};

use crate::platform::now_ms;
use crate::state::{ImageSession, Saving, Step};

/// How long a shell nobody is in is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// All shells in images.
#[derive(Debug, Default)]
pub struct Sessions {
    table: Mutex<BTreeMap<String, Arc<Session>>>,
}

/// A shell in an image. The image's turn is taken as long as this lives.
#[derive(Debug)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// The image.
    pub image: ImageFullName,
    /// Whose it is.
    pub user: UserName,
    /// When it began, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// The copy of the image that is worked in.
    pub working: Working,
    /// The container.
    pub shell: Shell,
    /// The turn of [`Session::image`].
    pub turn: Turn,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    seen_ms: u64,
    entered: bool,
    used: bool,
}

/// A session that is being used: by its user, or because it is being saved or dropped. Others have to wait.
#[derive(Debug)]
pub struct Claim {
    session: Arc<Session>,
}

impl std::ops::Deref for Claim {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut now = self.session.now.lock();
        now.used = false;
        now.seen_ms = now_ms();
    }
}

impl Session {
    /// One that nobody is in; `entered`: its user was.
    pub fn new(
        row: &ImageSession,
        working: Working,
        shell: Shell,
        turn: Turn,
        entered: bool,
    ) -> Self {
        Self {
            id: row.id.clone(),
            image: row.image.clone(),
            user: row.user.clone(),
            started_ms: row.started_ms,
            working,
            shell,
            turn,
            now: Mutex::new(Now { seen_ms: now_ms(), entered, used: false }),
        }
    }

    /// Takes it; none when somebody has it.
    pub fn claim(self: &Arc<Self>) -> Option<Claim> {
        let mut now = self.now.lock();
        if std::mem::replace(&mut now.used, true) {
            return None;
        }
        drop(now);
        Some(Claim { session: self.clone() })
    }

    /// Its user is in it from now on.
    pub fn enter(&self) {
        self.now.lock().entered = true;
    }

    /// Whether its user ever was in it.
    pub fn entered(&self) -> bool {
        self.now.lock().entered
    }

    /// Whether somebody has it now.
    pub fn used(&self) -> bool {
        self.now.lock().used
    }

    /// When it will be dropped if nobody comes, milliseconds since 1970 UTC.
    pub fn expires_ms(&self) -> u64 {
        self.now.lock().seen_ms.saturating_add(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether it is to be dropped.
    pub fn is_over(&self, now_ms: u64) -> bool {
        !self.used() && self.expires_ms() <= now_ms
    }

    /// As it is written to the state.
    pub fn row(&self, saving: Option<Saving>) -> ImageSession {
        let now = self.now.lock();
        ImageSession {
            id: self.id.clone(),
            image: self.image.clone(),
            user: self.user.clone(),
            container: self.working.name().to_owned(),
            started_ms: self.started_ms,
            step: Step::Made {
                plan: self.shell.plan().clone(),
                seen_ms: i64::try_from(now.seen_ms).unwrap_or(i64::MAX),
                entered: now.entered,
                saving,
            },
        }
    }
}

impl Sessions {
    /// Adds one.
    pub fn add(&self, session: Arc<Session>) {
        self.table.lock().insert(session.id.clone(), session);
    }

    /// Forgets one; the turn of its image ends when nobody uses it any more.
    pub fn forget(&self, id: &str) {
        self.table.lock().remove(id);
    }

    /// The one of that id.
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.table.lock().get(id).cloned()
    }

    /// All, in the order of their beginnings.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.table.lock().values().cloned().collect();
        all.sort_by_key(|session| session.started_ms);
        all
    }

    /// The one in an image.
    pub fn in_image(&self, image: &ImageFullName) -> Option<Arc<Session>> {
        self.table.lock().values().find(|session| session.image == *image).cloned()
    }
}
