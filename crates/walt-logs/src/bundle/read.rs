//! Reading a bundle, which may come from anybody: everything is bounded and checked before it counts.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::runtime::Handle;
use walt_model::{DeviceName, Mac, UserName};

use super::{
    CHECKPOINTS, FORMAT, ISSUERS, Instant, Issuer, MANIFEST, Manifest, Member, VERSION, sha256,
};
use crate::error::LogError;
use crate::record::{LogRecord, StreamMode, StreamName, Timestamp, chunk_from_text};
use crate::spool::Clock;
use crate::store::LogStore;

/// Largest part of the lines, which is held in memory.
const PART_BYTES: u64 = 32 << 20;
/// Most parts: twice as many as the largest bundle has.
const PARTS: usize = 32_768;
/// Most documents kept beside the lines.
const DOCUMENTS: usize = 32;
/// Bytes of all documents together, which are held in memory as they are: a value of JSON may take 30 times its text.
const DOCUMENTS_BYTES: u64 = 8 << 20;
/// Largest manifest.
const MANIFEST_BYTES: u64 = 8 << 20;
/// Most issuers, and most streams of all of them.
const ISSUERS_MAX: usize = 10_000;
const STREAMS_MAX: usize = 100_000;
/// Most checkpoints.
const CHECKPOINTS_MAX: usize = 10_000;
/// Window a decompressor may need: 2 to the power of this, bytes.
const WINDOW_LOG: u32 = 27;
/// Lines given to the store at once.
const BATCH: usize = 1_000;

/// How large a bundle may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all members together, uncompressed.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Line {
    timestamp_us: i64,
    issuer: String,
    stream: String,
    line: String,
    #[serde(default)]
    mode: StreamMode,
    #[serde(default)]
    clock_offset_us: Option<i64>,
    #[serde(default)]
    clock_uncertainty_us: Option<i64>,
}

/// Reads a bundle into an empty store; `user` gets its checkpoints. Its documents are given back by name (`nodes`), in
/// JSON.
/// Blocks: not to be called on a thread of the runtime. When it fails the store is to be thrown away.
///
/// # Errors
/// [`LogError::Bundle`]: what is wrong with it. [`LogError::NotWritten`] and others of the store.
pub fn import(
    source: impl Read,
    limits: Limits,
    store: &LogStore,
    user: &UserName,
) -> Result<(Manifest, HashMap<String, Vec<u8>>), LogError> {
    let mut decoder = zstd::Decoder::new(source).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG).map_err(broken)?;
    let mut archive = tar::Archive::new(decoder.take(limits.bytes));
    let mut reader = Reader::new(store, user);
    let mut manifest = None;
    // Raw: long names and other extensions, which are read without bound, are members that are refused.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        if manifest.is_some() {
            return Err(wrong("something follows its manifest"));
        }
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| wrong("a member has no proper name"))?;
        let size = entry.header().entry_size().map_err(broken)?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(wrong(&format!("{name:?} is not a plain file")));
        }
        let most = match name.as_str() {
            MANIFEST => MANIFEST_BYTES,
            name if name.starts_with("logs/") => PART_BYTES,
            _ => DOCUMENTS_BYTES.saturating_sub(reader.documents_bytes),
        };
        if size > most {
            return Err(wrong(&format!("{name:?} has {size} bytes, {most} are accepted")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if name == MANIFEST {
            manifest = Some(parse::<Manifest>(&name, &bytes)?);
        } else {
            reader.member(name, bytes)?;
        }
    }
    let manifest = manifest.ok_or_else(|| {
        wrong("it ends before its manifest: it was cut, or is larger than accepted")
    })?;
    reader.finish(&manifest)?;
    Ok((manifest, reader.documents))
}

fn wrong(what: &str) -> LogError {
    LogError::Bundle(what.to_owned())
}

fn broken(error: std::io::Error) -> LogError {
    LogError::Bundle(format!("it cannot be read: {error}"))
}

fn parse<T: for<'a> Deserialize<'a>>(name: &str, bytes: &[u8]) -> Result<T, LogError> {
    serde_json::from_slice(bytes)
        .map_err(|error| wrong(&format!("{name:?} is not understood: {error}")))
}

struct Reader<'a> {
    store: &'a LogStore,
    user: &'a UserName,
    members: Vec<Member>,
    documents: HashMap<String, Vec<u8>>,
    documents_bytes: u64,
    parts: usize,
    issuers: HashMap<String, Mac>,
    names: HashMap<String, StreamName>,
    streams: HashSet<(Mac, StreamName)>,
    clocks: HashMap<Mac, (i64, i64)>,
    lines: u64,
}

impl<'a> Reader<'a> {
    fn new(store: &'a LogStore, user: &'a UserName) -> Self {
        Self {
            store,
            user,
            members: Vec::new(),
            documents: HashMap::new(),
            documents_bytes: 0,
            parts: 0,
            issuers: HashMap::new(),
            names: HashMap::new(),
            streams: HashSet::new(),
            clocks: HashMap::new(),
            lines: 0,
        }
    }

    fn member(&mut self, name: String, bytes: Vec<u8>) -> Result<(), LogError> {
        let (size, sha256) = (bytes.len() as u64, sha256(&bytes));
        let part = name.strip_prefix("logs/").and_then(|name| name.strip_suffix(".jsonl"));
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= 32
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if part.is_some_and(word) {
            self.parts += 1;
            if self.parts > PARTS {
                return Err(wrong("it has too many parts"));
            }
            self.part(&name, &bytes)?;
        } else if let Some(document) = name.strip_suffix(".json").filter(|name| word(name)) {
            if self.documents.len() >= DOCUMENTS {
                return Err(wrong("it has too many documents"));
            }
            match document {
                ISSUERS => self.name_issuers(parse(&name, &bytes)?)?,
                CHECKPOINTS => self.name_instants(parse(&name, &bytes)?)?,
                _ => drop(parse::<IgnoredAny>(&name, &bytes)?),
            }
            self.documents_bytes += size;
            if self.documents.insert(document.to_owned(), bytes).is_some() {
                return Err(wrong(&format!("{name:?} is there twice")));
            }
        } else {
            return Err(wrong(&format!("it has an unexpected member {name:?}")));
        }
        self.members.push(Member { name, size, sha256 });
        Ok(())
    }

    fn name_issuers(&mut self, issuers: Vec<Issuer>) -> Result<(), LogError> {
        for Issuer { name, mac } in issuers {
            if self.issuers.values().any(|known| *known == mac) {
                return Err(wrong(&format!("two of its issuers have the address {mac}")));
            }
            self.name_issuer(name, mac)?;
        }
        Ok(())
    }

    fn name_issuer(&mut self, name: String, mac: Mac) -> Result<Mac, LogError> {
        if self.issuers.len() >= ISSUERS_MAX {
            return Err(wrong("it has too many issuers"));
        }
        let device: DeviceName =
            name.parse().map_err(|_| wrong(&format!("{name:?} is not the name of a device")))?;
        if self.issuers.insert(name, mac).is_some() {
            return Err(wrong(&format!("two of its issuers are called {device}")));
        }
        self.store.name_issuer(mac, &device).detach();
        Ok(mac)
    }

    fn name_instants(&self, instants: Vec<Instant>) -> Result<(), LogError> {
        if instants.len() > CHECKPOINTS_MAX {
            return Err(wrong("it has too many checkpoints"));
        }
        for Instant { name, timestamp_us } in instants {
            let name = name
                .parse()
                .map_err(|_| wrong(&format!("{name:?} is not the name of a checkpoint")))?;
            let added = self.store.add_checkpoint(self.user, &name, Timestamp(timestamp_us));
            Handle::current().block_on(added)?;
        }
        Ok(())
    }

    fn part(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let mut records = Vec::with_capacity(BATCH);
        for line in bytes.lines() {
            let line = line.map_err(broken)?;
            let line: Line = parse(name, line.as_bytes())?;
            records.push(self.record(line)?);
            self.lines += 1;
            if records.len() == BATCH {
                self.push(std::mem::take(&mut records))?;
            }
        }
        self.push(records)
    }

    fn push(&self, records: Vec<LogRecord>) -> Result<(), LogError> {
        let pushed = Handle::current().block_on(self.store.sink().push_all(records));
        pushed.map_err(|_| LogError::Stopped)
    }

    fn record(&mut self, line: Line) -> Result<LogRecord, LogError> {
        let issuer = match self.issuers.get(&line.issuer) {
            Some(mac) => *mac,
            None => {
                let [_, _, a, b, c, d] = (self.issuers.len() as u64).to_be_bytes()[2..] else {
                    return Err(wrong("it has too many issuers"));
                };
                self.name_issuer(line.issuer, Mac([0x02, 0xb0, a, b, c, d]))?
            }
        };
        let stream = match self.names.get(&line.stream) {
            Some(stream) => stream.clone(),
            None => {
                let name: StreamName =
                    line.stream.parse().map_err(|error| wrong(&format!("{error}")))?;
                self.names.insert(line.stream, name.clone());
                name
            }
        };
        if self.streams.insert((issuer, stream.clone())) && self.streams.len() > STREAMS_MAX {
            return Err(wrong("it has too many streams"));
        }
        let timestamp = Timestamp(line.timestamp_us);
        let clock = line.clock_offset_us.zip(line.clock_uncertainty_us);
        if let Some((offset, uncertainty)) = clock
            && self.clocks.insert(issuer, (offset, uncertainty)) != clock
        {
            let clock = Clock { measured: timestamp, offset, uncertainty };
            self.store.note_clock(issuer, clock).detach();
        }
        let bytes = (line.mode == StreamMode::Chunk).then(|| chunk_from_text(&line.line)).flatten();
        Ok(match bytes {
            Some(bytes) => LogRecord::chunk(issuer, stream, timestamp, &bytes),
            None => LogRecord::line(issuer, stream, timestamp, line.line),
        })
    }

    fn finish(&self, manifest: &Manifest) -> Result<(), LogError> {
        if manifest.format != FORMAT || manifest.version == 0 {
            return Err(wrong("its manifest is not that of a bundle of WalT"));
        }
        if manifest.version > VERSION {
            let version = manifest.version;
            return Err(wrong(&format!("it was made by a newer WalT (format {version})")));
        }
        if manifest.members != self.members {
            let changed = self.members.iter().find(|member| !manifest.members.contains(member));
            return Err(wrong(&match changed {
                Some(member) => format!("{:?} is not what its manifest says", member.name),
                None => "it lacks members its manifest names".to_owned(),
            }));
        }
        if manifest.lines != self.lines {
            return Err(wrong("it has not as many lines as its manifest says"));
        }
        Ok(())
    }
}
