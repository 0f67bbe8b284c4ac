//! The database of RPM, as rpm 4.16 and later keep it: an SQLite file whose table `Packages` has one header for each
//! package (<https://rpm-software-management.github.io/rpm/manual/format_header.html>).

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::packages::{MAX_PACKAGES, Packages};

/// Where it is, the first one that is there.
pub const DATABASES: [&str; 2] = ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"];

/// Longest header read, in bytes; those of real packages are far below.
const MAX_HEADER: usize = 64 << 20;
/// An image may hold any file under this name: reading it ends after this time.
const DEADLINE: Duration = Duration::from_secs(60);

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;
/// Types of values.
const INT32: u32 = 4;
const STRING: u32 = 6;

/// The packages of a database. Its file is not changed, and not trusted.
///
/// # Errors
/// It is no such database, or it takes too long to read.
pub fn read(file: &Path) -> io::Result<Packages> {
    query(file).map_err(|error| io::Error::other(format!("the database of RPM: {error}")))
}

fn query(file: &Path) -> Result<Packages, rusqlite::Error> {
    let path = file.to_string_lossy();
    // A file of a layer never changes; without this SQLite would want to write beside it.
    let address = format!("file:{}?immutable=1", encoded(&path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(address, flags)?;
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    let interrupt = conn.get_interrupt_handle();
    let (done, waits) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if waits.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let packages = all(&conn);
    drop(done);
    packages
}

fn all(conn: &Connection) -> Result<Packages, rusqlite::Error> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'Packages'";
    let mut packages = Packages::new();
    if conn.query_row(table, [], |row| row.get::<_, i64>(0))? != 1 {
        return Ok(packages);
    }
    let mut statement = conn.prepare("SELECT blob FROM Packages")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Ok(header) = row.get_ref(0)?.as_blob()
            && header.len() <= MAX_HEADER
            && let Some((name, version)) = package(header)
        {
            packages.insert(name, version);
        }
        if packages.len() >= MAX_PACKAGES {
            break;
        }
    }
    Ok(packages)
}

fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Name and version of the package of a header.
fn package(header: &[u8]) -> Option<(String, String)> {
    let name = text(header, NAME)?;
    let (version, release) = (text(header, VERSION)?, text(header, RELEASE)?);
    // Keys of repositories are kept as packages too.
    let name = match text(header, ARCH) {
        Some(arch) if arch != "noarch" => format!("{name}:{arch}"),
        _ => name,
    };
    let epoch = number(header, EPOCH).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Some((name, format!("{epoch}{version}-{release}")))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Where the value of a tag is, if it has that type.
fn value(header: &[u8], tag: u32, kind: u32) -> Option<&[u8]> {
    let entries = word(header, 0)? as usize;
    let index = header.get(8..8usize.checked_add(entries.checked_mul(16)?)?)?;
    let data = &header[8 + entries * 16..];
    let entry = index.chunks_exact(16).find(|entry| word(entry, 0) == Some(tag))?;
    if word(entry, 4)? != kind {
        return None;
    }
    data.get(word(entry, 8)? as usize..)
}

fn text(header: &[u8], tag: u32) -> Option<String> {
    let value = value(header, tag, STRING)?;
    let end = value.iter().take(1024).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&value[..end]).into_owned())
}

fn number(header: &[u8], tag: u32) -> Option<u32> {
    word(value(header, tag, INT32)?, 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header(fields: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in fields {
            for number in [*tag, *kind, data.len() as u32, 1] {
                index.extend_from_slice(&number.to_be_bytes());
            }
            data.extend_from_slice(value);
        }
        let mut header = Vec::new();
        header.extend_from_slice(&(fields.len() as u32).to_be_bytes());
        header.extend_from_slice(&(data.len() as u32).to_be_bytes());
        header.extend(index);
        header.extend(data);
        header
    }

    #[test]
    fn headers() {
        let bash = header(&[
            (NAME, STRING, b"bash\0"),
            (VERSION, STRING, b"5.2\0"),
            (RELEASE, STRING, b"3.fc40\0"),
            (EPOCH, INT32, &[0, 0, 0, 2]),
            (ARCH, STRING, b"x86_64\0"),
        ]);
        let expected = ("bash:x86_64".to_owned(), "2:5.2-3.fc40".to_owned());
        assert_eq!(package(&bash), Some(expected.clone()));
        for cut in 0..bash.len() {
            // Never a panic; what is cut at the end may still be whole.
            package(&bash[..cut]);
        }
        let lies = header(&[(NAME, STRING, b"no end")]);
        assert_eq!(package(&lies), None);
        assert_eq!(package(&[0xff; 64]), None);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd name?#%.sqlite");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
            .unwrap();
        conn.execute("INSERT INTO Packages(blob) VALUES (?1), (?2)", [&bash, &vec![1, 2, 3]])
            .unwrap();
        drop(conn);
        assert_eq!(read(&path).unwrap(), Packages::from([expected]));
        std::fs::write(&path, "not a database").unwrap();
        assert!(read(&path).is_err());
    }
}
