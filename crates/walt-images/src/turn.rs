//! Whose turn it is to change an image: one change at a time for each name, and the others are told whose it is.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is being done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// A shell in the image, until its end is saved or dropped.
    Shell,
    /// Files are copied into the image or out of it.
    FileTransfer,
    /// The image gets a single layer.
    Squash,
    /// The image is built.
    Build,
    /// The image is cloned under this name.
    Clone,
    /// What changed on a node is saved under this name.
    Save,
    /// The image is sent to a registry.
    Publish,
    /// An image gets this further name.
    Duplicate,
    /// The image gets this name, or loses it.
    Rename,
    /// The name is removed.
    Remove,
    /// An earlier version comes back.
    Rollback,
    /// A newer default image comes.
    Update,
}

impl Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shell => "shell session",
            Self::FileTransfer => "file transfer",
            Self::Squash => "squash process",
            Self::Build => "build",
            Self::Clone => "clone",
            Self::Save => "save of a node",
            Self::Publish => "publication",
            Self::Duplicate => "duplication",
            Self::Rename => "renaming",
            Self::Remove => "removal",
            Self::Rollback => "rollback",
            Self::Update => "update",
        })
    }
}

/// Somebody else's turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Image '{image}' cannot be changed now: a {task} of {user} is running.")]
pub struct Busy {
    /// The image, `<owner>/<name>:<tag>`.
    pub image: String,
    /// What is being done.
    pub task: Task,
    /// By whom.
    pub user: String,
}

type Held = Arc<Mutex<HashMap<String, (Task, String)>>>;

/// Who changes which image.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    held: Held,
}

impl Turns {
    /// Takes the turn of an image, by full name; it ends when the answer is dropped.
    ///
    /// # Errors
    /// It is somebody else's.
    pub fn take(
        &self,
        image: &impl Display,
        task: Task,
        user: &impl Display,
    ) -> Result<Turn, Busy> {
        let image = image.to_string();
        let mut held = locked(&self.held);
        if let Some((task, user)) = held.get(&image) {
            return Err(Busy { image, task: *task, user: user.clone() });
        }
        held.insert(image.clone(), (task, user.to_string()));
        Ok(Turn { image, task, held: self.held.clone() })
    }

    /// What is being done with an image, and by whom.
    pub fn holder(&self, image: &impl Display) -> Option<(Task, String)> {
        locked(&self.held).get(&image.to_string()).cloned()
    }
}

/// The turn of an image.
#[derive(Debug)]
pub struct Turn {
    image: String,
    task: Task,
    held: Held,
}

impl Turn {
    /// The image, `<owner>/<name>:<tag>`.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// What it is for.
    pub fn task(&self) -> Task {
        self.task
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.held).remove(&self.image);
    }
}

fn locked(held: &Held) -> MutexGuard<'_, HashMap<String, (Task, String)>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_at_a_time() {
        let turns = Turns::default();
        let turn = turns.take(&"me/a:latest", Task::Shell, &"me").unwrap();
        let busy = turns.take(&"me/a:latest", Task::Squash, &"you").unwrap_err();
        assert_eq!(
            busy.to_string(),
            "Image 'me/a:latest' cannot be changed now: a shell session of me is running."
        );
        turns.take(&"me/b:latest", Task::Squash, &"you").unwrap();
        assert_eq!((turn.image(), turn.task()), ("me/a:latest", Task::Shell));
        drop(turn);
        assert_eq!(turns.holder(&"me/a:latest"), None);
    }
}
