//! Parquet, one row group after the other.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::error::LogError;
use crate::record::LogLine;

/// Lines in a row group, at most.
const GROUP_LINES: usize = 65_536;
/// Bytes of text in a row group, about.
const GROUP_BYTES: usize = 16 << 20;

const SCHEMA: &str = "
message log {
    required int64 timestamp (TIMESTAMP(MICROS, true));
    required binary issuer (STRING);
    required binary stream (STRING);
    required binary line (STRING);
    optional int64 clock_offset_us;
    optional int64 clock_uncertainty_us;
}";

/// A table being written.
pub(super) struct Table {
    out: Out,
    writer: SerializedFileWriter<Out>,
    rows: Rows,
}

/// Columns of the row group to come.
#[derive(Default)]
struct Rows {
    timestamps: Vec<i64>,
    issuers: Vec<ByteArray>,
    streams: Vec<ByteArray>,
    lines: Vec<ByteArray>,
    /// Which lines have a clock (1) and which have not (0).
    has_clock: Vec<i16>,
    offsets: Vec<i64>,
    uncertainties: Vec<i64>,
    bytes: usize,
}

/// Bytes written and not taken yet.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl From<ParquetError> for LogError {
    fn from(error: ParquetError) -> Self {
        Self::Export(error.to_string())
    }
}

impl Table {
    pub fn new() -> Result<Self, LogError> {
        let out = Out::default();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let writer = SerializedFileWriter::new(out.clone(), schema, properties)?;
        Ok(Self { out, writer, rows: Rows::default() })
    }

    pub fn add(&mut self, lines: &[LogLine]) -> Result<(), LogError> {
        for line in lines {
            self.rows.push(line);
            if self.rows.timestamps.len() >= GROUP_LINES || self.rows.bytes >= GROUP_BYTES {
                self.write_group()?;
            }
        }
        Ok(())
    }

    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.out.0.lock())
    }

    pub fn finish(mut self) -> Result<Vec<u8>, LogError> {
        if !self.rows.timestamps.is_empty() {
            self.write_group()?;
        }
        self.writer.finish()?;
        Ok(self.take())
    }

    fn write_group(&mut self) -> Result<(), LogError> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.writer.next_row_group()?;
        let clocks = Some(rows.has_clock.as_slice());
        column::<Int64Type, _>(&mut group, &rows.timestamps, None)?;
        column::<ByteArrayType, _>(&mut group, &rows.issuers, None)?;
        column::<ByteArrayType, _>(&mut group, &rows.streams, None)?;
        column::<ByteArrayType, _>(&mut group, &rows.lines, None)?;
        column::<Int64Type, _>(&mut group, &rows.offsets, clocks)?;
        column::<Int64Type, _>(&mut group, &rows.uncertainties, clocks)?;
        group.close()?;
        Ok(())
    }
}

impl Rows {
    fn push(&mut self, line: &LogLine) {
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        self.bytes += line.line.len() + line.issuer_name.len() + line.stream.as_str().len() + 64;
        self.timestamps.push(line.timestamp.0);
        self.issuers.push(text(&line.issuer_name));
        self.streams.push(text(line.stream.as_str()));
        self.lines.push(text(&line.line));
        self.has_clock.push(i16::from(line.clock.is_some()));
        if let Some(clock) = line.clock {
            self.offsets.push(clock.offset);
            self.uncertainties.push(clock.uncertainty);
        }
    }
}

fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("a column is missing in the schema".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, present, None)?;
    column.close()
}
