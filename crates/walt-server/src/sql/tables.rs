//! The tables users can read, column by column, and those they cannot.
//!
//! `docs/sql-schema.md` is printed from here, and a test compares both lists with the real databases: a new column
//! is in one of them, or the test fails.

use std::fmt::Write;

/// A table users can read.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The database it is in: `platform` or `logs`.
    pub database: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Its columns and what they hold.
    pub columns: &'static [(&'static str, &'static str)],
}

/// What users can read.
pub const TABLES: &[Table] = &[
    Table {
        name: "boots",
        database: "platform",
        about: "one boot of a node; the last ones of each node are kept",
        columns: &[
            ("id", "identifier of the boot"),
            ("mac", "the node"),
            ("started", "when it began, microseconds since 1970 UTC"),
            ("stages", "its stages, JSON"),
            ("outcome", "how it ended, JSON; null: it has not"),
        ],
    },
    Table {
        name: "checkpoints",
        database: "logs",
        about: "an instant a user gave a name to",
        columns: &[
            ("username", "the user"),
            ("name", "its name"),
            ("timestamp", "the instant, microseconds since 1970 UTC"),
        ],
    },
    Table {
        name: "clocks",
        database: "logs",
        about: "a comparison of the clock of a device with that of the server",
        columns: &[
            ("issuer_mac", "the device"),
            ("timestamp", "when, microseconds since 1970 UTC"),
            (
                "offset",
                "clock of the server minus its clock, microseconds: positive when it is behind",
            ),
            ("uncertainty", "the offset is right to that many microseconds"),
        ],
    },
    Table {
        name: "devices",
        database: "platform",
        about: "a device of the platform network: server, node, switch or unknown",
        columns: &[
            ("mac", "its MAC address, which identifies it"),
            ("ip", "its address on walt-net; null when not known"),
            ("name", "its name"),
            ("type", "server, node, switch or unknown"),
            ("virtual", "1: a virtual node of this server"),
            ("conf", "the settings that were changed, JSON: name to value"),
            ("created", "when it was first seen, microseconds since 1970 UTC"),
        ],
    },
    Table {
        name: "image_changes",
        database: "platform",
        about: "a change of the names of an image under way",
        columns: &[("image", "the image"), ("change", "the change, JSON")],
    },
    Table {
        name: "image_sessions",
        database: "platform",
        about: "a shell in an image that outlives its client",
        columns: &[
            ("id", "its identifier"),
            ("image", "the image"),
            ("user", "whose shell it is"),
            ("container", "the container it runs in"),
            ("started", "when it began"),
            ("state", "its state"),
        ],
    },
    Table {
        name: "image_versions",
        database: "platform",
        about: "what the name of an image meant",
        columns: &[
            ("image", "the name, owner/name:tag"),
            ("number", "number of the version of this name"),
            ("id", "identifier of the image"),
            ("since", "since when"),
            ("task", "what made it"),
            ("by_user", "who"),
            ("detail", "more about it"),
            ("created", "when the image was made"),
            ("size", "its size, bytes"),
        ],
    },
    Table {
        name: "imported_rows",
        database: "platform",
        about: "a row of the original's database that has no place here yet (walt-server db import)",
        columns: &[
            ("source", "table it was in"),
            ("number", "place in that table, from 1"),
            ("row", "its columns, JSON: name to text or null"),
            ("why", "why it is only kept here"),
        ],
    },
    Table {
        name: "issuers",
        database: "logs",
        about: "a device that may have logs",
        columns: &[("mac", "its MAC address"), ("name", "its present name")],
    },
    Table {
        name: "logs",
        database: "logs",
        about: "one log line",
        columns: &[
            ("seq", "its number, in the order of arrival"),
            ("stream_id", "its stream"),
            ("timestamp", "when, microseconds since 1970 UTC"),
            ("line", "its text; in a stream of mode chunk, bytes written as b'...'"),
        ],
    },
    Table {
        name: "logstreams",
        database: "logs",
        about: "a named sequence of lines of a device",
        columns: &[
            ("id", "its number"),
            ("issuer_mac", "the device; null: it was removed, the lines are being deleted"),
            ("name", "its name"),
            ("mode", "line or chunk"),
            ("lines", "how many lines it has"),
            ("bytes", "their length"),
        ],
    },
    Table {
        name: "nodes",
        database: "platform",
        about: "what is particular to a node; its device is in devices",
        columns: &[
            ("mac", "the device"),
            ("model", "its model"),
            ("image", "the image it boots, owner/name:tag: the owner of the image has the node"),
            ("firmware", "of its virtual machine: bios or uefi"),
            ("booted", "1: it was booted when this was last written"),
        ],
    },
    Table {
        name: "roots",
        database: "platform",
        about: "an image root a node reads",
        columns: &[("mac", "the node"), ("root", "the root")],
    },
];

/// What users cannot read: tables, or `table.column`, and why.
pub const WITHHELD: &[(&str, &str)] = &[
    ("platform.server_values", "values of the server itself, which may be secret"),
    ("logs.counters", "bookkeeping of the log store"),
    ("logs.spools", "bookkeeping of what nodes have sent"),
    ("logs.sqlite_sequence", "bookkeeping of SQLite"),
];

/// Whether users can read a column; the name is empty when only rows are counted.
pub fn readable(database: &str, table: &str, column: &str) -> bool {
    TABLES.iter().any(|known| {
        known.database == database
            && known.name.eq_ignore_ascii_case(table)
            && (column.is_empty()
                || column.eq_ignore_ascii_case("rowid")
                || known.columns.iter().any(|(name, _)| name.eq_ignore_ascii_case(column)))
    })
}

/// Whether a table of this name, in whatever database, is kept from users.
pub fn withheld(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    let named = |name: &str| name.split_once('.').is_some_and(|(_, name)| name == table);
    table.starts_with("sqlite_") || WITHHELD.iter().any(|(name, _)| named(name))
}

/// The tables as Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for table in TABLES {
        let Table { name, database, about, columns } = table;
        // Writing to a text cannot fail.
        let _ = write!(text, "## `{name}`\n\nDatabase `{database}`; each row is {about}.\n\n");
        text.push_str("| column | what it holds |\n| --- | --- |\n");
        for (column, holds) in *columns {
            let _ = writeln!(text, "| `{column}` | {holds} |");
        }
        text.push('\n');
    }
    text.push_str("## What cannot be read\n\n| table or column | why |\n| --- | --- |\n");
    for (name, why) in WITHHELD {
        let _ = writeln!(text, "| `{name}` | {why} |");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql-schema.md");

    #[tokio::test]
    async fn every_column_is_told_or_withheld() {
        let dir = tempfile::tempdir().unwrap();
        let state = crate::state::State::open(&dir.path().join("platform.db")).unwrap();
        let logs = walt_logs::LogStore::open(&dir.path().join("logs.db"), Default::default());
        let mut real = BTreeSet::new();
        for database in ["platform", "logs"] {
            let path = dir.path().join(format!("{database}.db"));
            let conn = rusqlite::Connection::open(path).unwrap();
            let sql = "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_info(t.name) c
                       WHERE t.schema = 'main' AND t.name NOT IN ('sqlite_schema', 'sqlite_stat1')";
            let mut found = conn.prepare(sql).unwrap();
            let mut rows = found.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let (table, column): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
                real.insert(format!("{database}.{table}.{column}"));
            }
        }
        drop((state, logs));
        let mut told = BTreeSet::new();
        for table in TABLES {
            for (column, _) in table.columns {
                told.insert(format!("{}.{}.{column}", table.database, table.name));
            }
        }
        let withheld = |column: &str| {
            WITHHELD.iter().any(|(name, _)| {
                column == *name
                    || column.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let silent: Vec<&String> =
            real.iter().filter(|column| !told.contains(*column) && !withheld(column)).collect();
        assert!(
            silent.is_empty(),
            "say in sql/tables.rs what these columns hold (TABLES), or that users may not read them \
             (WITHHELD), then run this test with WRITE_DOCS=1: {silent:?}"
        );
        let gone: Vec<&String> = told.difference(&real).collect();
        assert!(gone.is_empty(), "sql/tables.rs tells of columns that do not exist: {gone:?}");
    }

    #[test]
    fn the_page_is_what_is_here() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let begin = page.find("## `").unwrap();
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(PAGE, format!("{}{}", &page[..begin], markdown())).unwrap();
        } else {
            assert_eq!(page[begin..], markdown(), "docs/sql-schema.md: run this with WRITE_DOCS=1");
        }
    }

    #[test]
    fn what_is_withheld_cannot_be_read() {
        assert!(readable("platform", "NODES", "Mac") && readable("logs", "logs", ""));
        for (database, table, column) in [
            ("platform", "server_values", "value"),
            ("platform", "sqlite_schema", "sql"),
            ("platform", "sqlite_master", ""),
            ("logs", "nodes", "mac"),
            ("platform", "nodes", "more"),
        ] {
            assert!(!readable(database, table, column), "{table}.{column}");
        }
    }
}
