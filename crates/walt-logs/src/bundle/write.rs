//! Writing a bundle, member by member.

use std::io::Write;

use super::{FORMAT, MANIFEST, Manifest, Member, VERSION, sha256};
use crate::error::LogError;
use crate::export::json_line;
use crate::record::{LogLine, Timestamp};

/// Bytes of lines in one member.
const PART: usize = 4 << 20;
/// Level of compression.
const LEVEL: i32 = 3;

/// A bundle being written.
pub struct BundleWriter<W: Write> {
    archive: tar::Builder<zstd::Encoder<'static, W>>,
    manifest: Manifest,
    part: Vec<u8>,
    parts: u32,
}

impl<W: Write> BundleWriter<W> {
    /// An empty bundle; `manifest` is completed by what is added.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: W, manifest: Manifest) -> Result<Self, LogError> {
        let compressed = zstd::Encoder::new(out, LEVEL).map_err(failed)?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            lines: 0,
            members: Vec::new(),
            ..manifest
        };
        Ok(Self { archive: tar::Builder::new(compressed), manifest, part: Vec::new(), parts: 0 })
    }

    /// Adds `<name>.json`. Documents come before lines.
    ///
    /// # Errors
    /// Those of the output.
    pub fn document(
        &mut self,
        name: &str,
        content: &impl serde::Serialize,
    ) -> Result<(), LogError> {
        let bytes = serde_json::to_vec_pretty(content).map_err(|error| failed(error.into()))?;
        self.member(&format!("{name}.json"), &bytes)
    }

    /// Adds lines.
    ///
    /// # Errors
    /// Those of the output.
    pub fn lines(&mut self, lines: &[LogLine]) -> Result<(), LogError> {
        for line in lines {
            json_line(line, &mut self.part)?;
            self.manifest.lines += 1;
            if self.part.len() >= PART {
                self.write_part()?;
            }
        }
        Ok(())
    }

    /// Adds the manifest and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> Result<W, LogError> {
        if !self.part.is_empty() {
            self.write_part()?;
        }
        let manifest = serde_json::to_vec_pretty(&self.manifest).map_err(|e| failed(e.into()))?;
        self.append(MANIFEST, &manifest)?;
        let compressed = self.archive.into_inner().map_err(failed)?;
        compressed.finish().map_err(failed)
    }

    fn write_part(&mut self) -> Result<(), LogError> {
        self.parts += 1;
        let part = std::mem::take(&mut self.part);
        self.member(&format!("logs/{:05}.jsonl", self.parts), &part)
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let size = bytes.len() as u64;
        self.manifest.members.push(Member { name: name.to_owned(), size, sha256: sha256(bytes) });
        self.append(name, bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let made = u64::try_from(self.manifest.made_us / 1_000_000).unwrap_or_default();
        header.set_mtime(made);
        self.archive.append_data(&mut header, name, bytes).map_err(failed)
    }
}

impl Manifest {
    /// Of a bundle of this range.
    pub fn new(
        server_version: &str,
        range: &str,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            server_version: server_version.to_owned(),
            made_us: Timestamp::now().0,
            range: range.to_owned(),
            start_us: start.map(|at| at.0),
            end_us: end.map(|at| at.0),
            lines: 0,
            members: Vec::new(),
        }
    }
}

fn failed(error: std::io::Error) -> LogError {
    LogError::Export(error.to_string())
}
