//! PostgreSQL as the original uses it: its tables, its batches, its query; the configuration Debian gives it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::load::text;
use crate::command::answer;

/// Lines in a batch, batches in a transaction (the original commits every two seconds).
const BATCH: u64 = 512;
pub const TRANSACTION: u64 = 100;

const TABLES: &str = "
CREATE TABLE devices (mac text PRIMARY KEY, name text);
CREATE TABLE logstreams (id serial PRIMARY KEY, issuer_mac text REFERENCES devices(mac), name text);
CREATE TABLE logs (stream_id integer REFERENCES logstreams(id), timestamp timestamptz, line text);
CREATE INDEX logs_timestamp_idx ON logs(timestamp);
CREATE INDEX logs_stream_id_idx ON logs(stream_id);
INSERT INTO devices VALUES ('52:54:00:00:00:01', 'node-1');
INSERT INTO logstreams(issuer_mac, name) SELECT '52:54:00:00:00:01', 'bench.' || n FROM generate_series(1, 8) n;
";

/// A server of its own, with nothing else in it.
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
}

impl Postgres {
    /// Starts it in an empty folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let programs = fs::read_dir("/usr/lib/postgresql")
            .context("PostgreSQL is not installed: cargo xtask packages --install")?
            .filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin")))
            .filter(|path| path.join("initdb").is_file())
            .max()
            .context("PostgreSQL has no initdb")?;
        fs::create_dir_all(folder)?;
        answer(Command::new("chown").arg("postgres").arg(folder))?;
        let this = Self { folder: folder.to_path_buf(), programs };
        let mut initdb = this.program("initdb");
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-D"]);
        answer(initdb.arg(this.data()))?;
        let options = format!("-k {} -c listen_addresses=", this.folder.display());
        let mut start = this.program("pg_ctl");
        start.args(["-w", "-l"]).arg(this.folder.join("log")).args(["-o", &options, "-D"]);
        // Its output must not be a pipe, which the server would hold open.
        start.arg(this.data()).arg("start").stdout(Stdio::null()).stderr(Stdio::null());
        if !start.status()?.success() {
            bail!("PostgreSQL does not start: {}", fs::read_to_string(this.folder.join("log"))?);
        }
        this.sql(TABLES)?;
        Ok(this)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(self.programs.join(name)).current_dir("/");
        command
    }

    fn psql(&self) -> Command {
        let mut command = self.program("psql");
        command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-h"]).arg(&self.folder).arg("postgres");
        command
    }

    fn sql(&self, text: &str) -> Result<String> {
        answer(self.psql().args(["-c", text]))
    }

    /// Gives text to `psql`.
    fn feed(&self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let mut psql = self.psql().args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
        let input = psql.stdin.take().context("no input")?;
        let mut input = std::io::BufWriter::with_capacity(1 << 20, input);
        write(&mut input)?;
        input.flush()?;
        drop(input);
        if !psql.wait()?.success() {
            bail!("psql failed");
        }
        Ok(())
    }

    /// Lines per second by batched inserts.
    pub fn ingest(&self, lines: u64) -> Result<f64> {
        let batches = lines / BATCH;
        let mut batch =
            String::from("INSERT INTO logs SELECT v.id, v.t::timestamptz, v.line FROM (VALUES ");
        for n in 0..BATCH {
            let comma = if n == 0 { "" } else { "," };
            let line = text(n);
            let line = line.trim_end();
            batch.push_str(&format!(
                "{comma}({},'2026-01-01 00:00:00.{n:06}+00','{line}')",
                n % 8 + 1
            ));
        }
        batch.push_str(") AS v(id, t, line), logstreams s WHERE s.id = v.id;\n");
        let started = Instant::now();
        self.feed(|psql| {
            psql.write_all(b"BEGIN;\n")?;
            for number in 1..=batches {
                psql.write_all(batch.as_bytes())?;
                if number % TRANSACTION == 0 {
                    psql.write_all(b"COMMIT; BEGIN;\n")?;
                }
            }
            psql.write_all(b"COMMIT;\n")?;
            Ok(())
        })?;
        let rate = (batches * BATCH) as f64 / started.elapsed().as_secs_f64();
        self.sql("TRUNCATE logs")?;
        Ok(rate)
    }

    /// The lines that are searched: the fastest way in, which is not what is measured.
    pub fn fill(&self, lines: u64, start: u64, hours: u64) -> Result<()> {
        let each = lines / 8;
        let step = hours as f64 * 3600.0 / each.max(1) as f64;
        self.feed(|psql| {
            psql.write_all(b"COPY logs FROM STDIN;\n")?;
            for n in 0..each {
                let at = start as f64 + n as f64 * step;
                let date = format!("{:.6}", at);
                let (seconds, micros) = date.split_once('.').unwrap_or((&date, "0"));
                let seconds: i64 = seconds.parse()?;
                let day = date_of(seconds);
                for stream in 1..=8 {
                    write!(psql, "{stream}\t{day}.{micros}+00\t{}", text(n))?;
                }
            }
            psql.write_all(b"\\.\n")?;
            Ok(())
        })?;
        self.sql("ANALYZE")?;
        Ok(())
    }

    /// The lines of a span of time that match.
    pub fn search(&self, start: u64, end: u64, pattern: &str) -> Result<usize> {
        let query = format!(
            "SELECT l.timestamp, l.line, d.name, s.name FROM logs l, logstreams s, devices d
             WHERE s.id = l.stream_id AND s.issuer_mac = d.mac AND s.name ~ '(?e)bench'
             AND d.name IN ('node-1') AND l.timestamp > to_timestamp({start})
             AND l.timestamp < to_timestamp({end}) AND l.line ~ '(?e){pattern}' ORDER BY l.timestamp"
        );
        Ok(self.sql(&query)?.lines().count())
    }

    /// What a line takes, indexes included.
    pub fn bytes_per_line(&self) -> Result<f64> {
        let told =
            self.sql("SELECT pg_total_relation_size('logs')::float8 / count(*) FROM logs")?;
        Ok(told.trim().parse()?)
    }

    /// Stops it and removes its files.
    pub fn stop(self) -> Result<()> {
        self.end()
    }

    fn end(&self) -> Result<()> {
        let mut stop = self.program("pg_ctl");
        answer(stop.args(["-w", "-m", "immediate", "-D"]).arg(self.data()).arg("stop"))?;
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.folder.exists()
            && let Err(error) = self.end()
        {
            eprintln!("warning: PostgreSQL in {}: {error:#}", self.folder.display());
        }
    }
}

/// `2026-01-31 12:00:00` of a time in seconds since 1970 (days to civil: Howard Hinnant's algorithm).
fn date_of(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::date_of(1_700_000_000), "2023-11-14 22:13:20");
        assert_eq!(super::date_of(951_782_400), "2000-02-29 00:00:00");
    }
}
