//! `~/.walt/config`: what the original WalT's client keeps there, in its format (YAML). Only the accounts on registries
//! are used; the rest is kept as it is. Reading never writes.

use super::mask::{mask, unmask};
use crate::failure::Failure;
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use walt_proto::api::image::registry::{Account, Secret};

/// Largest file read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// The file, and where it was before version 4 of the original.
struct Places {
    file: PathBuf,
    legacy: PathBuf,
}

impl Places {
    fn of_user() -> Option<Self> {
        let home = PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?);
        Some(Self { file: home.join(".walt/config"), legacy: home.join(".waltrc") })
    }
}

/// The account kept for a registry.
///
/// # Errors
/// The file is there and cannot be read or understood.
pub fn account(registry: &str) -> Result<Option<Account>, Failure> {
    match Places::of_user() {
        Some(places) => Ok(find(&read(&places)?, registry)),
        None => Ok(None),
    }
}

/// Keeps an account for a registry, readable by its owner only. Says where.
///
/// # Errors
/// There is no home directory; the file cannot be understood or written.
pub fn keep(registry: &str, account: &Account) -> Result<PathBuf, Failure> {
    let places = Places::of_user()
        .ok_or_else(|| Failure::plain("HOME is not set: there is no place for your accounts."))?;
    let mut config = read(&places)?;
    put(&mut config, registry, account);
    write(&places.file, &render(&config)).map_err(|error| {
        Failure::plain(format!("Cannot write {}: {error}.", places.file.display()))
    })?;
    Ok(places.file)
}

fn read(places: &Places) -> Result<Map<String, Value>, Failure> {
    for path in [&places.file, &places.legacy] {
        let wrong = |why: String| Failure::plain(format!("{}: {why}", path.display()));
        let text = match text_of(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(format!("{error}."))),
        };
        let tree: Option<Value> =
            serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        return match tree {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(config)) => Ok(modern(config)),
            Some(_) => Err(wrong("expected groups of settings, such as `registries:`.".into())),
        };
    }
    Ok(Map::new())
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut std::io::Read::take(File::open(path)?, MAX_SIZE),
        &mut text,
    )?;
    Ok(text)
}

/// Old layouts: `server`, `username`, `password` and the group `hub` stood at the top.
fn modern(mut config: Map<String, Value>) -> Map<String, Value> {
    let top =
        |config: &Map<String, Value>, key: &str| config.get(key).filter(|v| v.is_string()).cloned();
    let (username, password) = (top(&config, "username"), config.remove("password"));
    for key in ["server", "username"] {
        if let Some(value) = top(&config, key) {
            group(&mut config, "walt").entry(key).or_insert(value);
            config.remove(key);
        }
    }
    let mut hub = match config.remove("hub") {
        Some(Value::Object(hub)) => hub,
        _ => Map::new(),
    };
    if let Some(password) = password {
        hub.entry("password").or_insert(password);
        hub.extend(username.map(|username| ("username".to_owned(), username)));
    }
    if !hub.is_empty() {
        group(&mut config, "registries").entry("hub").or_insert(Value::Object(hub));
    }
    config
}

/// The group of that name, made if there is none.
fn group<'a>(config: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = config.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(group) => group,
        // Just made sure of.
        _ => unreachable!(),
    }
}

fn find(config: &Map<String, Value>, registry: &str) -> Option<Account> {
    let entry = config.get("registries")?.get(registry)?;
    // Digits only, and without quotes: a number for YAML.
    let text = |key: &str| match entry.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let password = unmask(&text("password")?)?;
    Some(Account { username: text("username")?, password: Secret::new(password) })
}

fn put(config: &mut Map<String, Value>, registry: &str, account: &Account) {
    let entry = group(group(config, "registries"), registry);
    entry.insert("username".into(), Value::String(account.username.clone()));
    entry.insert("password".into(), Value::String(mask(account.password.reveal())));
}

const HEADER: &str = "\
# Configuration of the WalT client, written by `walt`.
# To change an account, remove its lines: walt asks again when it needs it, and checks it then.
";

fn render(config: &Map<String, Value>) -> String {
    let mut text = HEADER.to_owned();
    for (name, value) in config {
        text.push('\n');
        match name.as_str() {
            "walt" => text.push_str("# The server and the user.\n"),
            "registries" => text.push_str(
                "# Accounts on registries of images (passwords are masked, not encrypted).\n",
            ),
            _ => {}
        }
        render_entry(&mut text, name, value, 0);
    }
    text
}

/// Texts and lists as JSON, which YAML reads too.
fn render_entry(text: &mut String, name: &str, value: &Value, depth: usize) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let simple = name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphabetic());
    let name = if simple { name.to_owned() } else { Value::String(name.to_owned()).to_string() };
    text.push_str(&" ".repeat(4 * depth));
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            text.push_str(&format!("{name}:\n"));
            for (name, value) in entries {
                render_entry(text, name, value, depth + 1);
            }
        }
        value => text.push_str(&format!("{name}: {value}\n")),
    }
}

/// Complete or not at all, and never readable by others.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let fresh = folder.join(format!(".config.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn places() -> (tempfile::TempDir, Places) {
        let home = tempfile::tempdir().unwrap();
        let (file, legacy) = (home.path().join(".walt/config"), home.path().join(".waltrc"));
        (home, Places { file, legacy })
    }

    fn of(text: &str) -> Result<Map<String, Value>, Failure> {
        let (_home, places) = places();
        std::fs::create_dir_all(places.file.parent().unwrap()).unwrap();
        std::fs::write(&places.file, text).unwrap();
        read(&places)
    }

    fn shown(config: &Map<String, Value>, registry: &str) -> Option<(String, String)> {
        find(config, registry).map(|a| (a.username, a.password.reveal().to_owned()))
    }

    #[test]
    fn files_of_the_original() {
        let text = "# fast-load: gASVAA\nwalt:\n    server: localhost\n    # who\n    username: me\n\
            registries:\n    hub:\n        username: me\n        password: '22'\n    lab:\n        \
            username: you\n        password: 21242d365539\n";
        let config = of(text).unwrap();
        assert_eq!(shown(&config, "hub").unwrap(), ("me".into(), "p".into()));
        assert_eq!(shown(&config, "lab").unwrap(), ("you".into(), "secret".into()));
        assert_eq!(shown(&config, "other"), None);
        let config = of("server: s\nusername: me\npassword: '22'\n").unwrap();
        assert_eq!(shown(&config, "hub").unwrap(), ("me".into(), "p".into()));
        assert_eq!(config["walt"]["server"], "s");
        assert!(of("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let error = of("walt:\n    server: [\n").unwrap_err().to_string();
        assert!(error.contains(".walt/config") && error.contains("line"), "{error}");
        assert!(of("- a\n").is_err());
    }

    #[test]
    fn an_account_is_added_and_the_rest_is_kept() {
        let (_home, places) = places();
        assert!(read(&places).unwrap().is_empty());
        std::fs::write(&places.legacy, "server: s\nusername: me\n").unwrap();
        let mut config = read(&places).unwrap();
        let account = Account { username: "a: \"b\"".into(), password: Secret::new("pass word") };
        put(&mut config, "lab", &account);
        write(&places.file, &render(&config)).unwrap();
        let mode = std::fs::metadata(&places.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = read(&places).unwrap();
        assert_eq!(again, config);
        assert_eq!(find(&again, "lab").unwrap(), account);
        assert_eq!(again["walt"]["username"], "me");
        let text = std::fs::read_to_string(&places.file).unwrap();
        assert!(!text.contains("pass word"), "{text}");
        assert_eq!(std::fs::read_dir(places.file.parent().unwrap()).unwrap().count(), 1);
    }
}
