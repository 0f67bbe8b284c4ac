//! Devices, the nodes among them, and their settings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use walt_model::{DeviceName, DeviceType, ImageFullName, Mac, NodeModel, UserName};

use super::error::StateError;

/// Stored settings of a device: dotted name (`boot.timeout`) to value. A value may be null (`boot.timeout`:
/// disabled); a name that is not there has its default.
pub type Settings = BTreeMap<String, serde_json::Value>;

/// A device the platform knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its address on the wire, which identifies it.
    pub mac: Mac,
    /// Its IP address, unique; `None` if not known.
    pub ip: Option<Ipv4Addr>,
    /// Its name, unique.
    pub name: DeviceName,
    /// What it is.
    pub device_type: DeviceType,
    /// Is it a virtual node of this server?
    pub is_virtual: bool,
    /// When it was first seen, microseconds since 1970 UTC.
    pub created: i64,
    /// Its stored settings.
    pub settings: Settings,
}

/// The firmware a virtual node starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// Legacy PC firmware.
    #[default]
    Bios,
    /// UEFI.
    Uefi,
}

impl Firmware {
    /// The word stored and displayed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

impl FromStr for Firmware {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bios" => Ok(Self::Bios),
            "uefi" => Ok(Self::Uefi),
            other => Err(format!("'{other}' is not a firmware (bios or uefi)")),
        }
    }
}

/// What is particular to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its device.
    pub mac: Mac,
    /// Its model.
    pub model: NodeModel,
    /// The image it boots; the image's owner is the node's owner.
    pub image: ImageFullName,
    /// Its firmware (virtual nodes).
    pub firmware: Firmware,
    /// Was it booted when this was last written?
    pub booted: bool,
}

impl Node {
    /// Who owns the node: the owner of its image.
    pub fn owner(&self) -> &UserName {
        self.image.owner()
    }
}

/// Parse a text column.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize, what: &'static str) -> Result<T, StateError>
where
    T: FromStr,
    T::Err: Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| StateError::Invalid { what, reason: error.to_string() })
}

pub(super) fn must_exist(conn: &Connection, mac: Mac) -> Result<(), StateError> {
    conn.prepare_cached("SELECT 1 FROM devices WHERE mac = ?1")?
        .query_row([mac.to_string()], |_| Ok(()))
        .optional()?
        .ok_or(StateError::NoSuchDevice(mac))
}

/// Tell which unique column refused a row.
fn taken(error: rusqlite::Error, ip: Option<Ipv4Addr>, name: &DeviceName) -> StateError {
    if let rusqlite::Error::SqliteFailure(code, Some(message)) = &error
        && code.code == ErrorCode::ConstraintViolation
    {
        if message.contains("devices.name") {
            return StateError::Taken { what: "name", value: name.to_string() };
        }
        if let (true, Some(ip)) = (message.contains("devices.ip"), ip) {
            return StateError::Taken { what: "address", value: ip.to_string() };
        }
    }
    error.into()
}

pub(crate) fn put_device(conn: &Connection, device: &Device) -> Result<(), StateError> {
    conn.prepare_cached(
        "INSERT INTO devices(mac, ip, name, type, virtual, conf, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (mac) DO UPDATE SET ip = excluded.ip, name = excluded.name,
             type = excluded.type, virtual = excluded.virtual, conf = excluded.conf",
    )?
    .execute(params![
        device.mac.to_string(),
        device.ip.map(|ip| ip.to_string()),
        device.name.as_str(),
        device.device_type.as_str(),
        device.is_virtual,
        to_json(&device.settings)?,
        device.created,
    ])
    .map_err(|error| taken(error, device.ip, &device.name))?;
    Ok(())
}

pub(crate) fn put_node(conn: &Connection, node: &Node) -> Result<(), StateError> {
    must_exist(conn, node.mac)?;
    conn.prepare_cached(
        "INSERT INTO nodes(mac, model, image, firmware, booted) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (mac) DO UPDATE SET model = excluded.model, image = excluded.image,
             firmware = excluded.firmware, booted = excluded.booted",
    )?
    .execute(params![
        node.mac.to_string(),
        node.model.as_str(),
        node.image.to_string(),
        node.firmware.as_str(),
        node.booted,
    ])?;
    Ok(())
}

pub(super) fn rename(conn: &Connection, mac: Mac, name: &DeviceName) -> Result<(), StateError> {
    let changed = conn
        .execute(
            "UPDATE devices SET name = ?2 WHERE mac = ?1",
            params![mac.to_string(), name.as_str()],
        )
        .map_err(|error| taken(error, None, name))?;
    if changed == 0 { Err(StateError::NoSuchDevice(mac)) } else { Ok(()) }
}

pub(super) fn remove(conn: &Connection, mac: Mac) -> Result<(), StateError> {
    conn.execute("DELETE FROM devices WHERE mac = ?1", [mac.to_string()])?;
    Ok(())
}

pub(super) fn set_image(
    conn: &Connection,
    nodes: &[Mac],
    image: &ImageFullName,
) -> Result<(), StateError> {
    let mut statement = conn.prepare_cached("UPDATE nodes SET image = ?2 WHERE mac = ?1")?;
    for mac in nodes {
        if statement.execute(params![mac.to_string(), image.to_string()])? == 0 {
            return Err(StateError::NoSuchDevice(*mac));
        }
    }
    Ok(())
}

pub(super) fn set_booted(conn: &Connection, mac: Mac, booted: bool) -> Result<(), StateError> {
    conn.prepare_cached("UPDATE nodes SET booted = ?2 WHERE mac = ?1")?
        .execute(params![mac.to_string(), booted])?;
    Ok(())
}

pub(super) fn merge_settings(
    conn: &Connection,
    devices: &[Mac],
    settings: &Settings,
) -> Result<(), StateError> {
    for mac in devices {
        let text: String = conn
            .query_row("SELECT conf FROM devices WHERE mac = ?1", [mac.to_string()], |r| r.get(0))
            .optional()?
            .ok_or(StateError::NoSuchDevice(*mac))?;
        let mut merged = from_json(&text)?;
        merged.extend(settings.clone());
        conn.execute(
            "UPDATE devices SET conf = ?2 WHERE mac = ?1",
            params![mac.to_string(), to_json(&merged)?],
        )?;
    }
    Ok(())
}

pub(super) fn all_devices(conn: &Connection) -> Result<Vec<Device>, StateError> {
    let mut statement = conn
        .prepare("SELECT mac, name, type, virtual, created, ip, conf FROM devices ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        let ip: Option<String> = row.get(5)?;
        let ip = ip.map(|text| text.parse()).transpose().map_err(|error| StateError::Invalid {
            what: "devices.ip",
            reason: format!("{error}"),
        })?;
        devices.push(Device {
            mac: parsed(row, 0, "devices.mac")?,
            ip,
            name: parsed(row, 1, "devices.name")?,
            device_type: parsed(row, 2, "devices.type")?,
            is_virtual: row.get(3)?,
            created: row.get(4)?,
            settings: from_json(&row.get::<_, String>(6)?)?,
        });
    }
    Ok(devices)
}

pub(super) fn all_nodes(conn: &Connection) -> Result<Vec<Node>, StateError> {
    let mut statement =
        conn.prepare("SELECT mac, model, image, firmware, booted FROM nodes ORDER BY mac")?;
    let mut rows = statement.query([])?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        nodes.push(Node {
            mac: parsed(row, 0, "nodes.mac")?,
            model: parsed(row, 1, "nodes.model")?,
            image: parsed(row, 2, "nodes.image")?,
            firmware: parsed(row, 3, "nodes.firmware")?,
            booted: row.get(4)?,
        });
    }
    Ok(nodes)
}

fn to_json(settings: &Settings) -> Result<String, StateError> {
    serde_json::to_string(settings)
        .map_err(|error| StateError::Invalid { what: "settings", reason: error.to_string() })
}

fn from_json(text: &str) -> Result<Settings, StateError> {
    serde_json::from_str(text)
        .map_err(|error| StateError::Invalid { what: "devices.conf", reason: error.to_string() })
}
