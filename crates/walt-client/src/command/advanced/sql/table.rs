//! Answers: a table for people, CSV (RFC 4180) or JSON for programs, all written as they come.

use crate::failure::Failure;
use crate::output::{self, printable};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Rows looked at to know how wide columns are; wider cells that come later stand out.
const LOOKED_AT: usize = 2000;
/// A column is not padded to more than that.
const WIDEST: usize = 80;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Csv,
    Json,
}

/// Prints the answers to a question.
pub(super) struct Writer {
    form: Form,
    names: Vec<String>,
    begun: bool,
    waiting: Vec<Vec<Value>>,
    widths: Option<Vec<usize>>,
    count: u64,
    objects: u64,
}

impl Writer {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            names: Vec::new(),
            begun: false,
            waiting: Vec::new(),
            widths: None,
            count: 0,
            objects: 0,
        }
    }

    /// An answer begins.
    pub(super) fn columns(&mut self, names: Vec<String>) -> Result<(), Failure> {
        self.end_of_answer();
        let names = if self.form == Form::Json { distinct(names) } else { names };
        if self.form == Form::Csv {
            output::print(&csv_line(names.iter().map(String::as_str)));
        }
        (self.names, self.begun, self.count) = (names, true, 0);
        Ok(())
    }

    /// Rows of it.
    pub(super) fn rows(&mut self, rows: Vec<Vec<Value>>) -> Result<(), Failure> {
        self.count += rows.len() as u64;
        match self.form {
            Form::Csv => {
                let lines = rows.iter().map(|row| {
                    let cells: Vec<String> = row.iter().map(|cell| plain(cell, "")).collect();
                    csv_line(cells.iter().map(String::as_str))
                });
                output::print(&lines.collect::<String>());
            }
            Form::Json => {
                let mut text = String::new();
                for row in rows {
                    text.push_str(if self.objects == 0 { "[\n" } else { ",\n" });
                    self.objects += 1;
                    let object: Map<String, Value> = self.names.iter().cloned().zip(row).collect();
                    let object = serde_json::to_string(&object);
                    text.push_str(&object.map_err(|error| Failure::plain(error.to_string()))?);
                }
                output::print(&text);
            }
            Form::Table => {
                self.waiting.extend(rows);
                if self.widths.is_some() || self.waiting.len() >= LOOKED_AT {
                    self.show();
                }
            }
        }
        Ok(())
    }

    /// No more will come; `whole`: because all came. JSON that is not whole is left open.
    pub(super) fn finish(&mut self, whole: bool) {
        self.end_of_answer();
        if self.form == Form::Json && whole {
            output::line(if self.objects == 0 { "[]" } else { "\n]" });
        }
    }

    fn end_of_answer(&mut self) {
        if !std::mem::take(&mut self.begun) || self.form != Form::Table {
            return;
        }
        self.show();
        let rows = if self.count == 1 { "row" } else { "rows" };
        output::line(&format!("({} {rows})\n", self.count));
        self.widths = None;
    }

    /// Prints the rows that wait, after the header if it is not there yet.
    fn show(&mut self) {
        let rows: Vec<Vec<String>> = std::mem::take(&mut self.waiting)
            .iter()
            .map(|row| row.iter().map(shown).collect())
            .collect();
        let mut text = String::new();
        let widths = self.widths.get_or_insert_with(|| {
            let width = |(column, name): (usize, &String)| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.min(WIDEST).max(name.chars().count())
            };
            let widths: Vec<usize> = self.names.iter().enumerate().map(width).collect();
            text.push_str(&padded(&self.names, &widths));
            let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&padded(&dashes, &widths));
            widths
        });
        for row in &rows {
            text.push_str(&padded(row, widths));
        }
        output::print(&text);
    }
}

/// Names of the fields of an object: a name that comes again gets a number (`name`, `name_2`).
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen = HashSet::new();
    let mut name = |name: String| {
        if seen.insert(name.clone()) {
            return name;
        }
        let mut numbered = (2..).map(|number| format!("{name}_{number}"));
        // There are more numbers than columns.
        numbered.find(|numbered| taken.insert(numbered.clone())).unwrap_or(name)
    };
    names.into_iter().map(&mut name).collect()
}

fn padded(cells: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> =
        cells.iter().zip(widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
    format!("{}\n", cells.join("  "))
}

/// A cell of a table: on one line, without what a terminal would obey.
fn shown(cell: &Value) -> String {
    printable(&plain(cell, "").replace(['\n', '\r', '\t'], " "))
}

fn plain(cell: &Value, null: &str) -> String {
    match cell {
        Value::Null => null.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = cells.map(|cell| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    });
    format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_rfc_4180() {
        assert_eq!(
            csv_line(["a", "b,c", "d\"e", "f\ng", ""].into_iter()),
            "a,\"b,c\",\"d\"\"e\",\"f\ng\",\r\n"
        );
    }

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let distinct =
            |names: &[&str]| distinct(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(distinct(&["mac", "name", "name"]), ["mac", "name", "name_2"]);
        assert_eq!(distinct(&["a", "a_2", "a", "a"]), ["a", "a_2", "a_3", "a_4"]);
        assert_eq!(distinct(&["a", "a", "a_2"]), ["a", "a_3", "a_2"]);
    }

    #[test]
    fn cells_cannot_break_a_table() {
        assert_eq!(shown(&Value::from("a\n\x1b[2J")), "a \\u{1b}[2J");
        assert_eq!(shown(&Value::Null), "");
        assert_eq!(shown(&Value::from(1.5)), "1.5");
    }
}
