//! What each image name meant and means, and the changes of names that are under way.
//!
//! A change is written before its first step and taken away with its last: one found at the start of the server was
//! cut by a crash, and is finished or undone then.

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use walt_images::ImageId;
use walt_model::ImageFullName;

use super::devices::parsed;
use super::error::StateError;

/// An image that a name stands for, or stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The name.
    pub image: ImageFullName,
    /// Its number among the versions of the name, from 1; never given twice.
    pub number: u32,
    /// The content, and where it comes from.
    pub content: Content,
}

/// The content of a version, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The image.
    pub id: ImageId,
    /// When the name got it, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// What made it, in words (`shell session`).
    pub task: String,
    /// Who asked for it.
    pub by: String,
    /// More, for people; may be empty.
    pub detail: String,
    /// When the image was made, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// Size of its files, bytes.
    pub size: u64,
}

/// A change of an image name that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Change {
    /// The name gets this content.
    Put {
        /// What becomes its latest version.
        content: Content,
    },
    /// The name is removed, its history with it.
    Remove,
    /// The name becomes another one, its history with it.
    Rename {
        /// The other one, not used until then.
        to: ImageFullName,
    },
}

const COLUMNS: &str = "image, number, id, since, task, by_user, detail, created, size";

pub(super) fn add_version(
    conn: &Connection,
    image: &ImageFullName,
    content: &Content,
) -> Result<u32, StateError> {
    let name = image.to_string();
    let last = "SELECT coalesce(max(number), 0) FROM image_versions WHERE image = ?1";
    let number: u32 = conn.prepare_cached(last)?.query_row([&name], |row| row.get(0))?;
    let number = number + 1;
    let insert = format!(
        "INSERT INTO image_versions({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    );
    conn.prepare_cached(&insert)?.execute(params![
        name,
        number,
        content.id.as_str(),
        content.since_ms,
        content.task,
        content.by,
        content.detail,
        content.created_ms,
        i64::try_from(content.size).unwrap_or(i64::MAX),
    ])?;
    Ok(number)
}

/// The versions of a name, or of all, in the order of names and numbers.
pub(super) fn versions(
    conn: &Connection,
    image: Option<&ImageFullName>,
) -> Result<Vec<Version>, StateError> {
    let query = format!(
        "SELECT {COLUMNS} FROM image_versions WHERE ?1 IS NULL OR image = ?1 ORDER BY image, number"
    );
    let mut statement = conn.prepare_cached(&query)?;
    let mut rows = statement.query([image.map(ToString::to_string)])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        versions.push(version(row)?);
    }
    Ok(versions)
}

fn version(row: &Row<'_>) -> Result<Version, StateError> {
    Ok(Version {
        image: parsed(row, 0, "image_versions.image")?,
        number: row.get(1)?,
        content: Content {
            id: parsed(row, 2, "image_versions.id")?,
            since_ms: row.get(3)?,
            task: row.get(4)?,
            by: row.get(5)?,
            detail: row.get(6)?,
            created_ms: row.get(7)?,
            size: u64::try_from(row.get::<_, i64>(8)?).unwrap_or(0),
        },
    })
}

/// Forgets all versions of a name but the last ones.
pub(super) fn keep_last(
    conn: &Connection,
    image: &ImageFullName,
    kept: usize,
) -> Result<(), StateError> {
    conn.prepare_cached(
        "DELETE FROM image_versions WHERE image = ?1 AND number NOT IN
             (SELECT number FROM image_versions WHERE image = ?1 ORDER BY number DESC LIMIT ?2)",
    )?
    .execute(params![image.to_string(), i64::try_from(kept.max(1)).unwrap_or(i64::MAX)])?;
    Ok(())
}

pub(super) fn forget_version(
    conn: &Connection,
    image: &ImageFullName,
    number: u32,
) -> Result<(), StateError> {
    conn.prepare_cached("DELETE FROM image_versions WHERE image = ?1 AND number = ?2")?
        .execute(params![image.to_string(), number])?;
    Ok(())
}

pub(super) fn forget_versions(conn: &Connection, image: &ImageFullName) -> Result<(), StateError> {
    conn.execute("DELETE FROM image_versions WHERE image = ?1", [image.to_string()])?;
    Ok(())
}

pub(super) fn move_versions(
    conn: &Connection,
    image: &ImageFullName,
    to: &ImageFullName,
) -> Result<(), StateError> {
    conn.execute("DELETE FROM image_versions WHERE image = ?1", [to.to_string()])?;
    conn.execute(
        "UPDATE image_versions SET image = ?2 WHERE image = ?1",
        [image.to_string(), to.to_string()],
    )?;
    Ok(())
}

pub(super) fn begin(
    conn: &Connection,
    image: &ImageFullName,
    change: &Change,
) -> Result<(), StateError> {
    let text = serde_json::to_string(change).map_err(|error| invalid(&error))?;
    conn.prepare_cached(
        "INSERT INTO image_changes(image, change) VALUES (?1, ?2)
         ON CONFLICT (image) DO UPDATE SET change = excluded.change",
    )?
    .execute(params![image.to_string(), text])?;
    Ok(())
}

pub(super) fn end(conn: &Connection, image: &ImageFullName) -> Result<(), StateError> {
    conn.prepare_cached("DELETE FROM image_changes WHERE image = ?1")?
        .execute([image.to_string()])?;
    Ok(())
}

pub(super) fn changes(conn: &Connection) -> Result<Vec<(ImageFullName, Change)>, StateError> {
    let mut statement = conn.prepare("SELECT image, change FROM image_changes ORDER BY image")?;
    let mut rows = statement.query([])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        let change = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
        changes.push((parsed(row, 0, "image_changes.image")?, change));
    }
    Ok(changes)
}

fn invalid(error: &serde_json::Error) -> StateError {
    StateError::Invalid { what: "image_changes.change", reason: error.to_string() }
}
