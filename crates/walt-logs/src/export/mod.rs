//! Log lines in formats of other programs, made piece by piece: memory does not grow with their number.

mod parquet;
mod text;

use serde::{Deserialize, Serialize};

use crate::error::LogError;
use crate::record::LogLine;

/// A format of exported lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// One JSON object per line, with the fields of `walt log show --json`.
    Jsonl,
    /// RFC 4180, with a header line.
    Csv,
    /// Apache Parquet, columns compressed with Zstandard.
    Parquet,
}

impl ExportFormat {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Turns lines into bytes of a format.
pub struct Exporter(Format);

enum Format {
    Jsonl(Vec<u8>),
    Csv(Vec<u8>),
    Parquet(Box<parquet::Table>),
}

impl Exporter {
    /// Nothing yet, but the header if the format has one.
    ///
    /// # Errors
    /// [`LogError::Export`].
    pub fn new(format: ExportFormat) -> Result<Self, LogError> {
        Ok(Self(match format {
            ExportFormat::Jsonl => Format::Jsonl(Vec::new()),
            ExportFormat::Csv => Format::Csv(text::CSV_HEADER.into()),
            ExportFormat::Parquet => Format::Parquet(Box::new(parquet::Table::new()?)),
        }))
    }

    /// Add lines.
    ///
    /// # Errors
    /// [`LogError::Export`].
    pub fn add(&mut self, lines: &[LogLine]) -> Result<(), LogError> {
        match &mut self.0 {
            Format::Jsonl(out) => lines.iter().try_for_each(|line| text::json_line(line, out)),
            Format::Csv(out) => {
                lines.iter().for_each(|line| text::csv_line(line, out));
                Ok(())
            }
            Format::Parquet(table) => table.add(lines),
        }
    }

    /// The bytes that are ready, possibly none.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Format::Jsonl(out) | Format::Csv(out) => std::mem::take(out),
            Format::Parquet(table) => table.take(),
        }
    }

    /// The last bytes.
    ///
    /// # Errors
    /// [`LogError::Export`].
    pub fn finish(self) -> Result<Vec<u8>, LogError> {
        match self.0 {
            Format::Jsonl(out) | Format::Csv(out) => Ok(out),
            Format::Parquet(table) => table.finish(),
        }
    }
}

pub(crate) use text::json_line;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Clock, StreamMode, Timestamp};
    use walt_model::Mac;

    fn lines(count: u64) -> Vec<LogLine> {
        let clock = Clock { measured: Timestamp(1), offset: -5, uncertainty: 2 };
        (0..count)
            .map(|n| LogLine {
                seq: n,
                timestamp: Timestamp(1_700_000_000_000_000 + n as i64),
                issuer: Mac([2, 0, 0, 0, 0, 1]),
                issuer_name: "node-1".into(),
                stream: "a,b".parse().unwrap(),
                mode: StreamMode::Line,
                line: format!("line \"{n}\"\u{1}é").into(),
                clock: (n % 2 == 0).then_some(clock),
            })
            .collect()
    }

    fn export(format: ExportFormat, count: u64) -> Vec<u8> {
        let mut exporter = Exporter::new(format).unwrap();
        let mut bytes = Vec::new();
        for page in lines(count).chunks(100) {
            exporter.add(page).unwrap();
            bytes.extend(exporter.take());
        }
        bytes.extend(exporter.finish().unwrap());
        bytes
    }

    #[test]
    fn text_formats() {
        let text = String::from_utf8(export(ExportFormat::Jsonl, 2)).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            r#"{"timestamp_us":1700000000000000,"issuer":"node-1","stream":"a,b","line":"line \"0\"\u0001é","clock_offset_us":-5,"clock_uncertainty_us":2}"#
        );
        let csv = String::from_utf8(export(ExportFormat::Csv, 2)).unwrap();
        assert_eq!(
            csv,
            "timestamp,issuer,stream,line,clock_offset_us,clock_uncertainty_us\r\n\
             2023-11-14T22:13:20.000000Z,node-1,\"a,b\",\"line \"\"0\"\"\u{1}é\",-5,2\r\n\
             2023-11-14T22:13:20.000001Z,node-1,\"a,b\",\"line \"\"1\"\"\u{1}é\",,\r\n"
        );
    }

    #[test]
    fn parquet_is_read_back() {
        use ::parquet::file::reader::{FileReader, SerializedFileReader};
        use ::parquet::record::RowAccessor;
        let count = 150_000;
        let bytes = export(ExportFormat::Parquet, count);
        assert!(bytes.len() < 3_000_000, "{}", bytes.len());
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, &bytes).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert!(reader.num_row_groups() > 1);
        let mut seen = 0;
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            assert_eq!(row.get_timestamp_micros(0).unwrap(), 1_700_000_000_000_000 + seen);
            assert_eq!(row.get_string(3).unwrap(), &format!("line \"{seen}\"\u{1}é"));
            assert_eq!(row.get_long(4).is_ok(), seen % 2 == 0);
            seen += 1;
        }
        assert_eq!(seen as u64, count);
    }
}
