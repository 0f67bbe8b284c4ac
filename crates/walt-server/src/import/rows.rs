//! Where the rows of the original's database go.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::tz::TimeZone;
use rusqlite::{Connection, params};
use serde_json::{Map, Value};
use walt_logs::{Importer, StreamMode, StreamName, Timestamp};
use walt_model::{CheckpointName, DeviceName, DeviceType, ImageFullName, Mac, NodeModel, UserName};

use super::dump::Row;
use super::time::instant;
use crate::state::devices::{put_device, put_node};
use crate::state::{Device, Firmware, Node, Settings, StateError};

/// Most devices, and most streams: they are held in memory.
const MAX_HELD: usize = 1_000_000;
/// Tables of the original that have no place here, and why.
const KEPT: &[(&str, &str)] = &[
    ("images", "images are moved with podman or skopeo, not with the database"),
    ("switches", "models of switches are not used yet"),
    ("switchports", "names of switch ports are not used yet"),
    ("topology", "the topology is not used yet: it is explored again"),
    ("poeoff", "PoE is not used yet; these ports may be without power"),
    ("vpnauth", "the VPN is not there yet"),
    ("vpnnodes", "the VPN is not there yet"),
];

/// What became of the rows.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows read, by table.
    pub read: BTreeMap<String, u64>,
    /// Rows that found their place, by table.
    pub placed: BTreeMap<String, u64>,
    /// What was changed or kept aside, and how often; the first ones.
    pub notes: BTreeMap<String, u64>,
}

impl Report {
    const MAX_NOTES: usize = 200;

    fn note(&mut self, note: String) {
        if self.notes.len() < Self::MAX_NOTES || self.notes.contains_key(&note) {
            *self.notes.entry(note).or_default() += 1;
        }
    }

    fn placed(&mut self, table: &str) {
        *self.placed.entry(table.to_owned()).or_default() += 1;
    }
}

/// The import under way.
pub(super) struct Rows<'c> {
    conn: &'c Connection,
    logs: Importer<'c>,
    zone: TimeZone,
    /// The MAC address of this server: what the original's server logged is its own.
    server: Mac,
    devices: Vec<Row>,
    nodes: Vec<Row>,
    streams: Vec<Row>,
    kept: HashMap<String, i64>,
    pub report: Report,
}

impl<'c> Rows<'c> {
    pub fn new(conn: &'c Connection, server: Mac, zone: TimeZone) -> anyhow::Result<Self> {
        Ok(Self {
            conn,
            logs: Importer::new(conn, "logs")?,
            zone,
            server,
            devices: Vec::new(),
            nodes: Vec::new(),
            streams: Vec::new(),
            kept: HashMap::new(),
            report: Report::default(),
        })
    }

    /// A row of the dump.
    pub fn take(&mut self, row: Row) -> anyhow::Result<()> {
        *self.report.read.entry(row.table.to_string()).or_default() += 1;
        let held = match &*row.table {
            "logs" => return self.line(&row),
            "checkpoints" => return self.checkpoint(&row),
            "devices" => &mut self.devices,
            "nodes" => &mut self.nodes,
            "logstreams" => &mut self.streams,
            other => {
                let known = KEPT.iter().find(|(table, _)| *table == other);
                let why = known.map_or("this table is not known here", |(_, why)| *why);
                return self.keep(&row, why);
            }
        };
        anyhow::ensure!(held.len() < MAX_HELD, "more than {MAX_HELD} rows in table {}", row.table);
        held.push(row);
        Ok(())
    }

    fn line(&mut self, row: &Row) -> anyhow::Result<()> {
        let stream = row.get("stream_id").and_then(|id| id.parse::<u32>().ok());
        let at = row.get("timestamp").and_then(|text| instant(text, &self.zone));
        match (stream, at) {
            (Some(stream), Some(at)) => {
                self.logs.line(stream, at, row.get("line").unwrap_or_default())?;
                self.report.placed("logs");
                Ok(())
            }
            _ => self.keep(row, "its stream or its time is not understood"),
        }
    }

    fn checkpoint(&mut self, row: &Row) -> anyhow::Result<()> {
        let user = row.get("username").and_then(|name| name.parse::<UserName>().ok());
        let name = row.get("name").and_then(|name| name.parse::<CheckpointName>().ok());
        let at = row.get("timestamp").and_then(|text| instant(text, &self.zone));
        let (Some(user), Some(name), Some(at)) = (user, name, at) else {
            return self.keep(row, "its user, name or time is not understood");
        };
        if self.logs.checkpoint(user.as_str(), name.as_str(), at)? {
            self.report.placed("checkpoints");
            Ok(())
        } else {
            self.keep(row, "this user has a checkpoint of this name here")
        }
    }

    /// Keeps a row as it is.
    fn keep(&mut self, row: &Row, why: &str) -> anyhow::Result<()> {
        let number = match self.kept.get(&*row.table) {
            Some(number) => *number,
            None => self.conn.query_row(
                "SELECT ifnull(max(number), 0) FROM imported_rows WHERE source = ?1",
                [&*row.table],
                |found| found.get(0),
            )?,
        } + 1;
        self.kept.insert(row.table.to_string(), number);
        let named = row.columns.iter().cloned().zip(row.values.iter());
        let object: Map<String, Value> = named
            .map(|(name, value)| (name, value.clone().map_or(Value::Null, Value::String)))
            .collect();
        self.conn
            .prepare_cached(
                "INSERT INTO imported_rows(source, number, row, why) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![&*row.table, number, Value::Object(object).to_string(), why])?;
        self.report.note(format!("{}: kept in imported_rows: {why}", row.table));
        Ok(())
    }

    /// After the last row: devices, their nodes, their streams.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        let mut nodes = HashMap::new();
        for row in std::mem::take(&mut self.nodes) {
            match row.get("mac").and_then(|mac| mac.parse::<Mac>().ok()) {
                Some(mac) if !nodes.contains_key(&mac) => {
                    nodes.insert(mac, row);
                }
                _ => self.keep(&row, "its device is not understood, or has a node already")?,
            }
        }
        let mut macs = HashMap::new();
        for row in std::mem::take(&mut self.devices) {
            let Some(mac) = row.get("mac").and_then(|mac| mac.parse::<Mac>().ok()) else {
                self.keep(&row, "its MAC address is not understood")?;
                continue;
            };
            if row.get("type") == Some("server") {
                macs.insert(mac, self.server);
                self.logs.issuer(self.server, DeviceName::SERVER)?;
                self.report.placed("devices");
                continue;
            }
            let node = nodes.remove(&mac);
            if let Some(name) = self.device(mac, &row, node)? {
                macs.insert(mac, mac);
                self.logs.issuer(mac, &name)?;
            }
        }
        for row in nodes.into_values() {
            self.keep(&row, "its device is not in the dump, or was not taken")?;
        }
        let mut seen = HashSet::new();
        for row in std::mem::take(&mut self.streams) {
            let id = row.get("id").and_then(|id| id.parse::<u32>().ok()).filter(|id| *id > 0);
            let issuer = row.get("issuer_mac").and_then(|mac| mac.parse::<Mac>().ok());
            let issuer = issuer.and_then(|mac| macs.get(&mac).copied());
            let name = row.get("name").and_then(|name| name.parse::<StreamName>().ok());
            match (id, issuer, name) {
                (Some(id), Some(issuer), Some(name)) if seen.insert(id) => {
                    let chunk = row.get("mode") == Some("chunk");
                    let mode = if chunk { StreamMode::Chunk } else { StreamMode::Line };
                    self.logs.stream(id, issuer, &name, mode)?;
                    self.report.placed("logstreams");
                }
                _ => self.keep(&row, "its number, name or device is not understood")?,
            }
        }
        let imported = self.logs.finish()?;
        if imported.orphans > 0 {
            let placed = self.report.placed.entry("logs".to_owned()).or_default();
            *placed = placed.saturating_sub(imported.orphans);
            self.report.notes.insert(
                "logs: left out: their stream is not in the dump, or was not taken".to_owned(),
                imported.orphans,
            );
        }
        Ok(self.report)
    }

    /// A device and its node. Gives the name it has here, `None` when it was not taken.
    fn device(&mut self, mac: Mac, row: &Row, node: Option<Row>) -> anyhow::Result<Option<String>> {
        let there: Option<String> = {
            use rusqlite::OptionalExtension;
            let sql = "SELECT name FROM devices WHERE mac = ?1";
            self.conn.query_row(sql, [mac.to_string()], |found| found.get(0)).optional()?
        };
        if let Some(name) = there {
            for row in [Some(row), node.as_ref()].into_iter().flatten() {
                self.keep(row, "this device is here already: it stays as it is")?;
            }
            return Ok(Some(name));
        }
        let name = row.get("name").and_then(|name| name.parse::<DeviceName>().ok());
        let settings = settings(row.get("conf"));
        let (Some(name), Some(settings)) = (name, settings) else {
            for row in [Some(row), node.as_ref()].into_iter().flatten() {
                self.keep(row, "its name or its settings are not understood")?;
            }
            return Ok(None);
        };
        let node = match node {
            Some(row) => match read_node(mac, &row) {
                Some(node) => Some((node, row)),
                None => {
                    self.keep(&row, "its model or its image is not understood")?;
                    None
                }
            },
            None => None,
        };
        let kind = row.get("type").and_then(|kind| kind.parse().ok());
        let device_type = match (kind, &node) {
            (Some(DeviceType::Node) | None, None) => DeviceType::Unknown,
            (_, Some(_)) => DeviceType::Node,
            (Some(kind), None) => kind,
        };
        let mut device = Device {
            mac,
            ip: row.get("ip").and_then(|ip| ip.parse().ok()),
            name,
            device_type,
            is_virtual: matches!(row.get("virtual"), Some("t" | "true")) && node.is_some(),
            created: Timestamp::now().0,
            settings,
        };
        self.put(&mut device)?;
        self.report.placed("devices");
        if let Some((node, _)) = node {
            put_node(self.conn, &node)?;
            self.report.placed("nodes");
        }
        Ok(Some(device.name.to_string()))
    }

    /// Writes a device; one whose name or address is taken gets another name, or no address.
    fn put(&mut self, device: &mut Device) -> anyhow::Result<()> {
        let wanted = device.name.clone();
        for number in 2..1000 {
            match put_device(self.conn, device) {
                Err(StateError::Taken { what: "address", value }) => {
                    let name = &device.name;
                    self.report
                        .note(format!("devices: {name} loses its address {value}, which is taken"));
                    device.ip = None;
                }
                Err(StateError::Taken { .. }) => {
                    device.name = format!("{wanted}-{number}").parse()?;
                    let name = &device.name;
                    self.report
                        .note(format!("devices: {wanted} is called {name}: its name is taken"));
                }
                done => return Ok(done?),
            }
        }
        anyhow::bail!("no name is free for device {wanted}")
    }
}

fn read_node(mac: Mac, row: &Row) -> Option<Node> {
    let model: NodeModel = row.get("model")?.parse().ok()?;
    let image: ImageFullName = row.get("image")?.parse().ok()?;
    Some(Node { mac, model, image, firmware: Firmware::Bios, booted: false })
}

/// The settings of a device; `None` when they are no object.
fn settings(conf: Option<&str>) -> Option<Settings> {
    conf.map_or(Some(Settings::new()), |text| serde_json::from_str(text).ok())
}
