//! The process that answers one request: SQL on its input, events (one JSON object per line) on its output.

use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, OpenFlags, Statement};
use serde_json::Value;
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::tables::{TABLES, readable, withheld};

/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 128 << 10;
/// Most rows of an answer.
const MAX_ROWS: u64 = 1_000_000;
/// Rows are told together up to that many bytes; a single longer one is refused.
const PIECE: usize = 128 << 10;
const MAX_ROW: usize = 900 << 10;
/// Longest text SQLite makes, in bytes.
const MAX_TEXT: i32 = 8 << 20;
/// Bounds set by the kernel: memory, size of a temporary file, processor time in seconds.
const MEMORY: u64 = 512 << 20;
const TEMPORARY: u64 = 2 << 30;
const PROCESSOR: u64 = 120;

/// Where the databases are.
#[derive(Clone, Debug, Args)]
pub struct WorkerOptions {
    /// State directory of the server
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
}

/// Reads a request, writes its answer. Its own failures are events too.
///
/// # Errors
/// Nobody reads the answer.
pub fn run(options: &WorkerOptions) -> anyhow::Result<()> {
    limit().context("limits")?;
    let mut request = String::new();
    let read = io::stdin().take(MAX_REQUEST as u64).read_to_string(&mut request);
    let mut out = BufWriter::with_capacity(PIECE, io::stdout().lock());
    let end = match read.map_err(|error| Stop::Failed(error.to_string())) {
        Ok(_) => open(&options.state_dir)
            .map_err(Stop::from)
            .and_then(|conn| answer(&conn, &request, &mut out)),
        Err(error) => Err(error),
    };
    let last = match end {
        Ok(()) => Event::done(),
        Err(Stop::Nobody(error)) => return Err(error.into()),
        Err(Stop::Told(error)) => Event::Error(*error),
        Err(Stop::Failed(why)) => Event::Error(ApiError::new(ErrorKind::Internal, why)),
    };
    out.write_all(last.to_line().as_bytes())?;
    Ok(out.flush()?)
}

/// Why an answer ends before its end.
enum Stop {
    Nobody(io::Error),
    Told(Box<ApiError>),
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Nobody(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let message = match &error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        };
        let code = error.sqlite_error_code();
        // A function that is refused is told as a plain error, by its message.
        let refused = code == Some(ErrorCode::AuthorizationForStatementDenied)
            || message.starts_with("not authorized to use function");
        let told = match code {
            _ if refused => {
                ApiError::new(ErrorKind::Forbidden, format!("This is refused: {message}."))
                    .with_tip("only SELECT, on the tables of 'walt help show sql-schema'")
            }
            Some(ErrorCode::OutOfMemory | ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
                ApiError::new(ErrorKind::Invalid, "This needs too much memory.")
                    .with_tip("select less, or sort less")
            }
            _ => ApiError::new(ErrorKind::Invalid, format!("{message}.")),
        };
        Self::Told(Box::new(told))
    }
}

/// Asks the kernel to hold this process back.
fn limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, most) in [
        (Resource::Data, MEMORY),
        (Resource::Fsize, TEMPORARY),
        (Resource::Cpu, PROCESSOR),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    // A file that is too large is then an error, which is told.
    let ignored = nix::sys::signal::SigHandler::SigIgn;
    // SAFETY: no handler is installed.
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGXFSZ, ignored) }?;
    Ok(())
}

/// A connection that can only read, and only what users may.
fn open(state_dir: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_MEMORY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(":memory:", flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    describe(&conn)?;
    for database in ["platform", "logs"] {
        let path = state_dir.join(format!("{database}.db"));
        let path = percent_encoding::percent_encode(
            path.as_os_str().as_encoded_bytes(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        let path = path.to_string().replace("%2F", "/");
        conn.execute(&format!("ATTACH ?1 AS {database}"), [format!("file:{path}?mode=ro")])?;
    }
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_TEXT),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_REQUEST as i32),
        (Limit::SQLITE_LIMIT_COLUMN, 256),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (Limit::SQLITE_LIMIT_ATTACHED, 2),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        conn.set_limit(limit, most)?;
    }
    conn.authorizer(Some(authorize))?;
    Ok(conn)
}

fn authorize(context: AuthContext<'_>) -> Authorization {
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !function_name.eq_ignore_ascii_case("load_extension")
        }
        AuthAction::Read { table_name, column_name } => match context.database_name {
            Some("main") => {
                matches!(table_name, "walt_tables" | "walt_columns" | "json_each" | "json_tree")
            }
            Some(database) => readable(database, table_name, column_name),
            // Rows of a name are counted: a table that the question does not say the database of, or a part of
            // the question itself.
            None => !withheld(table_name),
        },
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// What can be read, as tables: `\dt` and `\d` of the client ask them.
fn describe(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE walt_tables(name TEXT, database TEXT, about TEXT);
         CREATE TABLE walt_columns(table_name TEXT, name TEXT, about TEXT);",
    )?;
    for table in TABLES {
        let row = [table.name, table.database, table.about];
        conn.execute("INSERT INTO walt_tables VALUES (?1, ?2, ?3)", row)?;
        for (column, about) in table.columns {
            let row = [table.name, column, about];
            conn.execute("INSERT INTO walt_columns VALUES (?1, ?2, ?3)", row)?;
        }
    }
    Ok(())
}

/// Answers all statements of a request, one after the other.
fn answer(conn: &Connection, request: &str, out: &mut impl Write) -> Result<(), Stop> {
    let mut statements = Batch::new(conn, request);
    let mut left = MAX_ROWS;
    while let Some(mut statement) = statements.next()? {
        if !statement.readonly() {
            let refused = "This is refused: it would change something.";
            return Err(Stop::Told(Box::new(ApiError::new(ErrorKind::Forbidden, refused))));
        }
        tell(&mut statement, &mut left, out)?;
    }
    Ok(())
}

fn tell(statement: &mut Statement<'_>, left: &mut u64, out: &mut impl Write) -> Result<(), Stop> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let columns = names.len();
    out.write_all(Event::SqlColumns { names }.to_line().as_bytes())?;
    let mut rows = statement.query([])?;
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if *left == 0 {
            flush(&mut piece, out)?;
            let message = format!("The answer was cut: it has more than {MAX_ROWS} rows.");
            let told = ApiError::new(ErrorKind::Invalid, message).with_tip("add LIMIT");
            return Err(Stop::Told(Box::new(told)));
        }
        *left -= 1;
        let mut cells = Vec::with_capacity(columns);
        let mut length = 0;
        for column in 0..columns {
            let cell = cell(row.get_ref(column)?);
            // Up to 6 characters for one in JSON.
            length += cell.as_str().map_or(24, |text| text.len() + 8);
            cells.push(cell);
        }
        if length > MAX_ROW / 6
            && serde_json::to_string(&cells).map_or(0, |text| text.len()) > MAX_ROW
        {
            let told = ApiError::new(ErrorKind::Invalid, "A row is too long.");
            let told = told.with_tip("select fewer columns, or substr(column, 1, 1000)");
            return Err(Stop::Told(Box::new(told)));
        }
        if bytes + length > PIECE {
            flush(&mut piece, out)?;
            bytes = 0;
        }
        bytes += length;
        piece.push(cells);
    }
    flush(&mut piece, out)
}

fn flush(piece: &mut Vec<Vec<Value>>, out: &mut impl Write) -> Result<(), Stop> {
    if !piece.is_empty() {
        let rows = std::mem::take(piece);
        out.write_all(Event::SqlRows { rows }.to_line().as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// A value as JSON; bytes as SQL writes them.
fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) if number.is_finite() => number.into(),
        ValueRef::Real(number) => number.to_string().into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{hex}'").into()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The events of a request on new databases.
    fn ask(request: &str) -> Vec<Event> {
        let dir = tempfile::tempdir().unwrap();
        // A name that is no plain URI.
        let dir = dir.path().join("a ?#%20b");
        std::fs::create_dir(&dir).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let _state = crate::state::State::open(&dir.join("platform.db")).unwrap();
        let _logs = walt_logs::LogStore::open(&dir.join("logs.db"), Default::default()).unwrap();
        let conn = open(&dir).map_err(|error| error.to_string()).unwrap();
        let mut out = Vec::new();
        let end = match answer(&conn, request, &mut out) {
            Ok(()) => Event::done(),
            Err(Stop::Told(error)) => Event::Error(*error),
            Err(_) => panic!("failed"),
        };
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| Event::from_line(line).unwrap()).chain([end]).collect()
    }

    #[test]
    fn questions_are_answered() {
        let events =
            ask("SELECT 1 AS a, 'x' AS b, NULL, x'00ff', 9e999; SELECT count(*) FROM nodes;\n");
        assert_eq!(events.len(), 5);
        assert_eq!(
            events[1],
            Event::SqlRows {
                rows: vec![vec![1.into(), "x".into(), Value::Null, "x'00ff'".into(), "inf".into()]]
            }
        );
        assert_eq!(events[3], Event::SqlRows { rows: vec![vec![0.into()]] });
        for good in [
            "SELECT d.name, n.image FROM devices d JOIN nodes n USING (mac)",
            "SELECT l.line FROM logs.logs l JOIN logstreams s ON s.id = l.stream_id",
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n",
            "SELECT key, value FROM devices, json_each(conf)",
            "SELECT name FROM walt_tables; SELECT * FROM walt_columns",
            "EXPLAIN QUERY PLAN SELECT * FROM logs",
            "SELECT rowid FROM logs",
            "-- nothing\n",
        ] {
            assert!(
                matches!(ask(good).last(), Some(Event::Done { .. })),
                "{good}: {:?}",
                ask(good)
            );
        }
    }

    #[test]
    fn nothing_else_is() {
        for bad in [
            "DELETE FROM nodes",
            "INSERT INTO walt_tables VALUES ('a', 'b', 'c')",
            "CREATE TEMP TABLE t(a)",
            "ATTACH '/etc/passwd' AS x",
            "DETACH logs",
            "PRAGMA query_only = 0",
            "PRAGMA database_list",
            "SELECT * FROM pragma_database_list",
            "SELECT load_extension('x')",
            "SELECT value FROM server_values",
            "SELECT count(*) FROM server_values",
            "SELECT sql FROM platform.sqlite_schema",
            "SELECT * FROM (SELECT value AS name FROM platform.server_values)",
            "BEGIN",
            "VACUUM",
            "SAVEPOINT a",
            "ANALYZE",
            "SELECT 1; DROP TABLE devices",
        ] {
            let events = ask(bad);
            let Some(Event::Error(error)) = events.last() else { panic!("{bad}: {events:?}") };
            assert_eq!(error.kind, ErrorKind::Forbidden, "{bad}: {error:?}");
        }
        for wrong in [
            "SELEC 1",
            "SELECT * FROM nothing",
            "SELECT zeroblob(1000000000)",
            "SELECT hex(zeroblob(1000000))",
        ] {
            let events = ask(wrong);
            let Some(Event::Error(error)) = events.last() else { panic!("{wrong}: {events:?}") };
            assert_eq!(error.kind, ErrorKind::Invalid, "{wrong}: {error:?}");
        }
    }
}
