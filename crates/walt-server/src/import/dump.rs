//! A plain `pg_dump`, read row by row: `COPY` blocks and `INSERT` statements; anything else is passed over.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use super::statement::{Statement, understand};

/// Longest line of a COPY block, and longest statement, in bytes.
const MAX_LENGTH: usize = 64 << 20;
/// Most columns of a table.
pub(super) const MAX_COLUMNS: usize = 256;
/// What `pg_dump` writes last.
const END: &str = "-- PostgreSQL database dump complete";

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The table, without its schema.
    pub table: Arc<str>,
    /// Names of the columns.
    pub columns: Arc<[String]>,
    /// Their values; `None` is NULL.
    pub values: Vec<Option<String>>,
}

impl Row {
    /// The value of a column; `None` for NULL and when there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)?.as_deref()
    }
}

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file cannot be read.
    #[error("the dump cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is no plain dump.
    #[error("{0}")]
    NotPlain(&'static str),
    /// It is malformed.
    #[error("line {line} of the dump: {message}")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// It has no end.
    #[error(
        "the dump is not whole: it does not end with '{END}'; make it again with \
         `pg_dump walt > dump.sql` and look at what pg_dump says"
    )]
    Cut,
}

/// A dump being read. Memory is bounded by its longest row.
pub struct Dump<R> {
    input: R,
    line: u64,
    read: u64,
    /// Columns by table, of `CREATE TABLE`: for `INSERT` statements without columns.
    tables: HashMap<String, Arc<[String]>>,
    copying: Option<(Arc<str>, Arc<[String]>)>,
    ready: std::collections::VecDeque<Row>,
    whole: bool,
}

impl<R: BufRead> Dump<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// What is no plain dump: compressed, or of another format of `pg_dump`.
    pub fn new(mut input: R) -> Result<Self, DumpError> {
        let start = input.fill_buf()?;
        if start.starts_with(b"PGDMP") {
            return Err(DumpError::NotPlain(
                "this is a dump in the custom format: `pg_restore -f dump.sql FILE` makes it plain",
            ));
        }
        let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ"];
        if compressed.iter().any(|magic| start.starts_with(magic)) {
            return Err(DumpError::NotPlain(
                "this file is compressed: uncompress it first, or give its text on standard input \
                 (for instance `zcat FILE | walt-server db import -`)",
            ));
        }
        Ok(Self {
            input,
            line: 0,
            read: 0,
            tables: HashMap::new(),
            copying: None,
            ready: Default::default(),
            whole: false,
        })
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.read
    }

    /// The next row; `None` at the end of a whole dump.
    ///
    /// # Errors
    /// [`DumpError`].
    pub fn next_row(&mut self) -> Result<Option<Row>, DumpError> {
        let mut text = Vec::new();
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            text.clear();
            if !self.read_line(&mut text)? {
                return if self.whole && self.copying.is_none() {
                    Ok(None)
                } else {
                    Err(DumpError::Cut)
                };
            }
            if let Some((table, columns)) = &self.copying {
                if text == b"\\." {
                    self.copying = None;
                    continue;
                }
                let values = copied(&text, columns.len()).map_err(|message| self.wrong(message))?;
                return Ok(Some(Row { table: table.clone(), columns: columns.clone(), values }));
            }
            if text.starts_with(b"--") {
                self.whole |= text == END.as_bytes();
                continue;
            }
            if text.iter().all(u8::is_ascii_whitespace) || text.starts_with(b"\\") {
                continue;
            }
            self.statement(&mut text)?;
        }
    }

    /// A statement that begins with `text`, up to its `;`.
    fn statement(&mut self, text: &mut Vec<u8>) -> Result<(), DumpError> {
        let begun = self.line;
        let mut quotes = Quotes::default();
        let mut seen = 0;
        while !quotes.ends(&text[seen..]) {
            seen = text.len();
            text.push(b'\n');
            if !self.read_line(text)? {
                return Err(DumpError::Cut);
            }
        }
        let text = String::from_utf8_lossy(text);
        let wrong = |message| DumpError::Malformed { line: begun, message };
        match understand(&text).map_err(wrong)? {
            Statement::Table { name, columns } => {
                self.tables.insert(name, columns.into());
            }
            Statement::Copy { table, columns } => {
                let columns = columns.map(Arc::from).or_else(|| self.tables.get(&table).cloned());
                let columns = columns.ok_or_else(|| {
                    wrong(format!("the columns of table '{table}' are not known"))
                })?;
                self.copying = Some((table.into(), columns));
            }
            Statement::Insert { table, columns, rows } => {
                let columns = columns.map(Arc::from).or_else(|| self.tables.get(&table).cloned());
                let columns: Arc<[String]> = columns.ok_or_else(|| {
                    wrong(format!("the columns of table '{table}' are not known"))
                })?;
                let table: Arc<str> = table.into();
                for values in rows {
                    if values.len() != columns.len() {
                        let (found, wanted) = (values.len(), columns.len());
                        return Err(wrong(format!("{found} values for {wanted} columns")));
                    }
                    let (table, columns) = (table.clone(), columns.clone());
                    self.ready.push_back(Row { table, columns, values });
                }
            }
            Statement::Encoding(encoding) => {
                if !matches!(encoding.to_ascii_uppercase().as_str(), "UTF8" | "UTF-8" | "SQL_ASCII")
                {
                    return Err(wrong(format!(
                        "the dump is in {encoding}; make it with `pg_dump --encoding=UTF8`"
                    )));
                }
            }
            Statement::Other => {}
        }
        Ok(())
    }

    /// Appends a line, without its end. False at the end of the file.
    fn read_line(&mut self, text: &mut Vec<u8>) -> Result<bool, DumpError> {
        let room = (MAX_LENGTH + 1).saturating_sub(text.len()) as u64;
        let read = std::io::Read::take(&mut self.input, room).read_until(b'\n', text)?;
        self.read += read as u64;
        self.line += 1;
        if text.len() > MAX_LENGTH {
            return Err(self.wrong(format!("longer than {} MiB", MAX_LENGTH >> 20)));
        }
        if text.last() == Some(&b'\n') && read > 0 {
            text.pop();
            if text.last() == Some(&b'\r') && self.copying.is_none() {
                text.pop();
            }
        } else if read > 0 && self.copying.is_some() {
            // Half a row is not worth a complaint of its own.
            return Err(DumpError::Cut);
        }
        Ok(read > 0)
    }

    fn wrong(&self, message: impl Into<String>) -> DumpError {
        DumpError::Malformed { line: self.line, message: message.into() }
    }
}

/// Follows quotes through a statement.
#[derive(Default)]
struct Quotes {
    inside: Option<u8>,
    /// The quotes are those of `E'...'`: a backslash takes the next character.
    escapes: bool,
}

impl Quotes {
    /// Whether the statement ends with this piece.
    fn ends(&mut self, piece: &[u8]) -> bool {
        let mut before = b' ';
        let mut skip = false;
        for &byte in piece {
            match self.inside {
                Some(_) if std::mem::take(&mut skip) => {}
                Some(b'\'') if self.escapes && byte == b'\\' => skip = true,
                // A doubled quote closes and opens again.
                Some(quote) if byte == quote => self.inside = None,
                Some(_) => {}
                None if byte == b'\'' || byte == b'"' => {
                    // The second of a doubled quote keeps what the first was.
                    if before != byte {
                        self.escapes = byte == b'\'' && matches!(before, b'e' | b'E');
                    }
                    self.inside = Some(byte);
                }
                None => {}
            }
            before = byte;
        }
        self.inside.is_none() && piece.trim_ascii_end().ends_with(b";")
    }
}

/// The values of a line of a COPY block (text format).
fn copied(line: &[u8], columns: usize) -> Result<Vec<Option<String>>, String> {
    // A table without columns has empty lines.
    if columns == 0 && line.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Vec::with_capacity(columns);
    for field in line.split(|byte| *byte == b'\t') {
        if values.len() == columns {
            return Err(format!("more than {columns} values"));
        }
        values.push(if field == b"\\N" { None } else { Some(unescaped(field)) });
    }
    if values.len() < columns {
        return Err(format!("{} values for {columns} columns", values.len()));
    }
    Ok(values)
}

/// A value of a COPY block: `\b \f \n \r \t \v`, up to 3 octal digits, `\x` and up to 2 hexadecimal ones; anything
/// else after a backslash stands for itself.
fn unescaped(field: &[u8]) -> String {
    if !field.contains(&b'\\') {
        return String::from_utf8_lossy(field).into_owned();
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut at = 0;
    // Reads up to `most` digits from `at`.
    let digits = |at: &mut usize, radix: u32, most: usize| {
        let mut value = None;
        for _ in 0..most {
            let digit = field.get(*at).and_then(|byte| char::from(*byte).to_digit(radix));
            let Some(digit) = digit else { break };
            value = Some(value.unwrap_or(0) * radix + digit);
            *at += 1;
        }
        // 3 octal digits may be more than a byte: PostgreSQL keeps the low 8 bits.
        value.map(|value: u32| value as u8)
    };
    while let Some(&byte) = field.get(at) {
        at += 1;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some(&escape) = field.get(at) else {
            bytes.push(b'\\');
            break;
        };
        at += 1;
        bytes.push(match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                at -= 1;
                digits(&mut at, 8, 3).unwrap_or(escape)
            }
            b'x' => digits(&mut at, 16, 2).unwrap_or(escape),
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
