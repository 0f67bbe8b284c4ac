//! The statements of a dump that matter: `CREATE TABLE`, `COPY`, `INSERT`, `SET client_encoding`. Pure.

use super::dump::MAX_COLUMNS;

/// A statement.
#[derive(Debug, PartialEq)]
pub(super) enum Statement {
    /// `CREATE TABLE`: its columns in order.
    Table { name: String, columns: Vec<String> },
    /// `COPY ... FROM stdin`: rows follow.
    Copy { table: String, columns: Option<Vec<String>> },
    /// `INSERT INTO ... VALUES ...`
    Insert { table: String, columns: Option<Vec<String>>, rows: Vec<Vec<Option<String>>> },
    /// The encoding of the file.
    Encoding(String),
    /// Nothing that matters here.
    Other,
}

/// Reads a statement.
///
/// # Errors
/// One that matters and is not understood.
pub(super) fn understand(text: &str) -> Result<Statement, String> {
    let mut words = Words { rest: text };
    match words.keyword().as_str() {
        "create" => {
            let mut kind = words.keyword();
            while matches!(kind.as_str(), "unlogged" | "temporary" | "temp") {
                kind = words.keyword();
            }
            if kind != "table" {
                return Ok(Statement::Other);
            }
            let Ok(name) = words.table() else { return Ok(Statement::Other) };
            if !words.eat('(') {
                return Ok(Statement::Other);
            }
            Ok(Statement::Table { name, columns: columns_of(words.rest) })
        }
        "copy" => {
            let table = words.table()?;
            let columns = words.columns()?;
            if words.keyword() != "from" || words.keyword() != "stdin" {
                return Err("COPY is only understood FROM stdin".to_owned());
            }
            if !words.rest.trim_matches([' ', ';', '\n']).is_empty() {
                return Err("COPY is only understood in the text format".to_owned());
            }
            Ok(Statement::Copy { table, columns })
        }
        "insert" => {
            if words.keyword() != "into" {
                return Ok(Statement::Other);
            }
            let table = words.table()?;
            let columns = words.columns()?;
            let mut keyword = words.keyword();
            if keyword == "overriding" {
                words.keyword();
                words.keyword();
                keyword = words.keyword();
            }
            if keyword != "values" {
                return Err("INSERT is only understood with VALUES".to_owned());
            }
            let mut rows = vec![words.values()?];
            while words.eat(',') {
                rows.push(words.values()?);
            }
            Ok(Statement::Insert { table, columns, rows })
        }
        "set" if words.keyword() == "client_encoding" => {
            if !words.eat('=') {
                // `TO`
                words.keyword();
            }
            let value = words.rest.trim_matches([' ', ';', '\'', '\n']);
            Ok(Statement::Encoding(value.to_owned()))
        }
        _ => Ok(Statement::Other),
    }
}

/// The columns of a table: the first word of each line of its body that is no constraint.
fn columns_of(body: &str) -> Vec<String> {
    let names = body.lines().filter_map(|line| {
        let mut words = Words { rest: line };
        let quoted = line.trim_start().starts_with('"');
        let name = words.name().ok()?;
        let constraint = ["constraint", "primary", "unique", "check", "foreign", "exclude", "like"];
        (quoted || !constraint.contains(&name.as_str())).then_some(name)
    });
    names.take(MAX_COLUMNS).collect()
}

/// A text being read from its beginning.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// A word in lower case; empty when there is none.
    fn keyword(&mut self) -> String {
        self.skip();
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_').to_ascii_lowercase()
    }

    /// A name, quoted or not.
    fn name(&mut self) -> Result<String, String> {
        if self.eat('"') {
            return self.quoted('"', false);
        }
        match self.keyword() {
            name if name.is_empty() => Err("a name is missing".to_owned()),
            name => Ok(name),
        }
    }

    /// The name of a table, without its schema.
    fn table(&mut self) -> Result<String, String> {
        let mut name = self.name()?;
        while self.eat('.') {
            name = self.name()?;
        }
        Ok(name)
    }

    /// Names in parentheses, if there are any.
    fn columns(&mut self) -> Result<Option<Vec<String>>, String> {
        if !self.eat('(') {
            return Ok(None);
        }
        let mut columns = Vec::new();
        if self.eat(')') {
            return Ok(Some(columns));
        }
        loop {
            columns.push(self.name()?);
            if columns.len() > MAX_COLUMNS {
                return Err(format!("more than {MAX_COLUMNS} columns"));
            }
            if self.eat(')') {
                return Ok(Some(columns));
            }
            if !self.eat(',') {
                return Err("names of columns are not understood".to_owned());
            }
        }
    }

    fn values(&mut self) -> Result<Vec<Option<String>>, String> {
        if !self.eat('(') {
            return Err("values are missing".to_owned());
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if values.len() > MAX_COLUMNS {
                return Err(format!("more than {MAX_COLUMNS} values"));
            }
            if self.eat(')') {
                return Ok(values);
            }
            if !self.eat(',') {
                return Err("a value is not understood (only constants are)".to_owned());
            }
        }
    }

    fn value(&mut self) -> Result<Option<String>, String> {
        self.skip();
        if self.eat('\'') {
            return self.quoted('\'', false).map(Some);
        }
        for prefix in ["E'", "e'"] {
            if let Some(rest) = self.rest.strip_prefix(prefix) {
                self.rest = rest;
                return self.quoted('\'', true).map(Some);
            }
        }
        let word =
            self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_'));
        match word {
            "" => Err("a value is missing".to_owned()),
            word if word.eq_ignore_ascii_case("null") => Ok(None),
            word => Ok(Some(word.to_owned())),
        }
    }

    /// What follows an opening quote, up to the closing one; doubled quotes are one.
    fn quoted(&mut self, quote: char, escapes: bool) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                if chars.next_if(|(_, next)| *next == quote).is_none() {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text);
                }
                text.push(quote);
            } else if escapes && c == '\\' {
                match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, 'b')) => text.push('\u{8}'),
                    Some((_, 'f')) => text.push('\u{c}'),
                    Some((_, other)) => text.push(other),
                    None => break,
                }
            } else {
                text.push(c);
            }
        }
        Err("a quote is not closed".to_owned())
    }
}
