//! `walt-server db import`: what a platform of the original WalT knew, from a plain `pg_dump` of its database.
//!
//! The server must be stopped. Both databases change in one transaction: when the import fails, or is killed,
//! nothing was imported. For that they keep a rollback journal meanwhile, which SQLite can commit in several files
//! at once; the server goes back to its write-ahead log when it starts.

mod dump;
mod rows;
mod statement;
mod time;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use rusqlite::Connection;
use walt_logs::LogStore;

use self::dump::Dump;
use self::rows::{Report, Rows};
use crate::net::identity::server_mac;
use crate::state::State;

/// The verbs of `walt-server db`.
#[derive(Clone, Debug, Subcommand)]
pub enum DbVerb {
    /// Take over what a platform of the original WalT (10.0) knew, from a dump of its database
    ///
    /// On the old server: `pg_dump walt > walt.sql`. Stop this server, then look at what would happen:
    /// `walt-server db import --dry-run walt.sql`, and do it without --dry-run. Devices, nodes, settings,
    /// checkpoints and logs are taken over; rows of other tables are kept in table imported_rows. It is all or
    /// nothing: an import that fails or is killed leaves this platform as it was.
    ///
    /// Images are not in the database: copy them before, for instance with skopeo, or the nodes wait for them.
    /// More: `walt help show db-import`.
    Import(ImportOptions),
}

/// What to import, and where.
#[derive(Clone, Debug, Args)]
pub struct ImportOptions {
    /// Plain dump made by pg_dump; - for standard input
    #[arg(value_name = "DUMP")]
    pub dump: PathBuf,
    /// State directory of the server
    #[arg(long, value_name = "DIR", default_value = "/var/lib/walt")]
    pub state_dir: PathBuf,
    /// Import into a platform that has devices or logs already; those stay as they are
    #[arg(long)]
    pub merge: bool,
    /// Only tell what would be imported
    #[arg(long)]
    pub dry_run: bool,
    /// Time zone of the old server, in which it wrote checkpoints [default: the one of this machine]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
}

/// Imports a dump and prints what became of it.
///
/// # Errors
/// The server runs, the dump is not readable or not whole, the platform is not empty. Nothing is changed then.
pub fn run(options: &ImportOptions) -> anyhow::Result<()> {
    let zone = match &options.timezone {
        None => TimeZone::system(),
        Some(name) => {
            TimeZone::get(name).with_context(|| format!("'{name}' is not a time zone"))?
        }
    };
    let (input, size): (Box<dyn BufRead>, Option<u64>) = if options.dump == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&options.dump)
            .with_context(|| format!("cannot read {}", options.dump.display()))?;
        let size = file.metadata()?.len();
        (Box::new(BufReader::with_capacity(1 << 20, file)), Some(size))
    };
    let dir = &options.state_dir;
    ensure!(
        dir.is_dir(),
        "there is no state directory {}: start the server once, or name it with --state-dir",
        dir.display()
    );
    let _lock = lock(dir)?;
    let conn = open(dir)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    if !options.merge {
        refuse_used(&conn)?;
    }
    let server = server_mac(dir)?;
    let mut dump = Dump::new(input)?;
    let mut rows = Rows::new(&conn, server, zone)?;
    let mut progress = Progress::new(size);
    let mut count = 0;
    while let Some(row) = dump.next_row()? {
        rows.take(row)?;
        count += 1;
        progress.tell(count, dump.bytes());
    }
    progress.end();
    let report = rows.finish()?;
    if report.read.keys().all(|table| !["devices", "nodes", "logs"].contains(&table.as_str())) {
        bail!("this dump has no table of WalT: is it one of database 'walt'?");
    }
    if options.dry_run {
        conn.execute_batch("ROLLBACK")?;
    } else {
        conn.execute_batch("COMMIT")?;
    }
    tell(&report, options.dry_run);
    Ok(())
}

/// The lock of the server, for the time of the import.
fn lock(dir: &Path) -> anyhow::Result<nix::fcntl::Flock<File>> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let exclusive = nix::fcntl::FlockArg::LockExclusiveNonblock;
    nix::fcntl::Flock::lock(file, exclusive).map_err(|_| {
        anyhow::anyhow!(
            "walt-server uses {}: stop it first (systemctl stop walt-server)",
            dir.display()
        )
    })
}

/// Both databases at the format of this program, in one connection.
fn open(dir: &Path) -> anyhow::Result<Connection> {
    let (platform, logs) = (dir.join("platform.db"), dir.join("logs.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        State::open(&platform)?.flush().await?;
        let store = LogStore::open(&logs, walt_logs::Options::default())?;
        store.close().await.map_err(anyhow::Error::from)
    })?;
    let conn = Connection::open(&platform)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    let logs = logs.to_str().context("the path of the state directory is not UTF-8")?;
    conn.execute("ATTACH ?1 AS logs", [logs])?;
    for schema in ["main", "logs"] {
        let mode: String =
            conn.query_row(&format!("PRAGMA {schema}.journal_mode = DELETE"), [], |row| {
                row.get(0)
            })?;
        ensure!(mode == "delete", "database {schema} is in use by another program");
        conn.execute_batch(&format!(
            "PRAGMA {schema}.synchronous = FULL; PRAGMA {schema}.cache_size = -65536;"
        ))?;
    }
    conn.pragma_update(None, "foreign_keys", true)?;
    Ok(conn)
}

/// An import twice, or into the wrong place, would double things.
fn refuse_used(conn: &Connection) -> anyhow::Result<()> {
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let devices = count("SELECT count(*) FROM devices WHERE type <> 'server'")?;
    let kept = count("SELECT count(*) FROM imported_rows")?;
    let checkpoints = count("SELECT count(*) FROM logs.checkpoints")?;
    if devices + kept + checkpoints > 0 {
        bail!(
            "this platform is not empty: {devices} devices, {checkpoints} checkpoints, {kept} rows of an \
             earlier import. Nothing was changed. (tip: --merge imports into it: what is there stays as it \
             is; lines of logs that were imported before come twice)"
        );
    }
    Ok(())
}

/// Says from time to time how far it is.
struct Progress {
    size: Option<u64>,
    next: Instant,
    every: Duration,
    terminal: bool,
}

impl Progress {
    fn new(size: Option<u64>) -> Self {
        let terminal = io::stderr().is_terminal();
        let every = Duration::from_secs(if terminal { 1 } else { 10 });
        Self { size, next: Instant::now() + every, every, terminal }
    }

    fn tell(&mut self, rows: u64, bytes: u64) {
        if !rows.is_multiple_of(1024) || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.every;
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let size = self.size.map(|size| format!(" of {}", megabytes(size))).unwrap_or_default();
        let text = format!("{rows} rows, {}{size} MB", megabytes(bytes));
        if self.terminal {
            // Nobody is left to be told when this fails.
            let _ = write!(io::stderr(), "\r{text} ");
        } else {
            eprintln!("{text}");
        }
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn tell(report: &Report, dry_run: bool) {
    let done = if dry_run { "to import" } else { "imported" };
    let rows: Vec<Vec<String>> = report
        .read
        .iter()
        .map(|(table, read)| {
            let placed = report.placed.get(table).copied().unwrap_or(0);
            vec![table.clone(), read.to_string(), placed.to_string()]
        })
        .collect();
    println!("{}", walt_model::table::table(&["table", "rows", done], &rows));
    if !report.notes.is_empty() {
        println!();
    }
    for (note, times) in &report.notes {
        println!("{note} ({times})");
    }
    if dry_run {
        println!("\nNothing was changed: this was --dry-run.");
    }
}
