//! Shells in images, which outlive their client and the server.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use walt_images::ImageId;
use walt_images::session::shell::Plan;
use walt_model::{ImageFullName, UserName};

use super::devices::parsed;
use super::error::StateError;

/// A shell in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSession {
    /// Its id: 16 hexadecimal digits.
    pub id: String,
    /// The image.
    pub image: ImageFullName,
    /// Whose it is.
    pub user: UserName,
    /// Name of its working copy in the store.
    pub container: String,
    /// When it began, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// How far it is.
    pub step: Step,
}

/// How far a shell in an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Being made: found at start, it is undone.
    Making,
    /// Made.
    Made {
        /// How it is run.
        plan: Plan,
        /// When its user was last there, milliseconds since 1970 UTC.
        seen_ms: i64,
        /// Its user was there at least once: nothing of it is thrown away without being asked.
        entered: bool,
        /// A new image was made of it, and this name is being given to that.
        #[serde(default)]
        saving: Option<Saving>,
    },
}

/// The last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saving {
    /// The name.
    pub name: ImageFullName,
    /// The new image.
    pub id: ImageId,
}

pub(super) fn put(conn: &Connection, session: &ImageSession) -> Result<(), StateError> {
    let step = serde_json::to_string(&session.step).map_err(|error| invalid(&error))?;
    conn.prepare_cached(
        "INSERT INTO image_sessions(id, image, user, container, started, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET state = excluded.state",
    )?
    .execute(params![
        session.id,
        session.image.to_string(),
        session.user.as_str(),
        session.container,
        session.started_ms,
        step
    ])?;
    Ok(())
}

pub(super) fn remove(conn: &Connection, id: &str) -> Result<(), StateError> {
    conn.execute("DELETE FROM image_sessions WHERE id = ?1", [id])?;
    Ok(())
}

pub(super) fn all(conn: &Connection) -> Result<Vec<ImageSession>, StateError> {
    let mut statement = conn.prepare(
        "SELECT id, image, user, container, started, state FROM image_sessions ORDER BY started",
    )?;
    let mut rows = statement.query([])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        let step: String = row.get(5)?;
        sessions.push(ImageSession {
            id: row.get(0)?,
            image: parsed(row, 1, "image_sessions.image")?,
            user: parsed(row, 2, "image_sessions.user")?,
            container: row.get(3)?,
            started_ms: row.get(4)?,
            step: serde_json::from_str(&step).map_err(|error| invalid(&error))?,
        });
    }
    Ok(sessions)
}

fn invalid(error: &serde_json::Error) -> StateError {
    StateError::Invalid { what: "image_sessions.state", reason: error.to_string() }
}
