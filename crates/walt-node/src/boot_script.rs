//! `walt-boot-script`: what the boot scripts of an image lead to, for those who write them.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::ipxe::{self, Loader, Location, Protocol, Variables};

/// Those of the protocol description's example, for what is not given.
const EXAMPLE: [(&str, &str); 9] = [
    ("ip", "192.168.152.20"),
    ("mac", "52:54:00:01:02:03"),
    ("netmask", "255.255.255.0"),
    ("gateway", ""),
    ("hostname", "vnode1"),
    ("next-server", "192.168.152.1"),
    ("manufacturer", "QEMU"),
    ("product", "Standard PC (i440FX + PIIX, 1996)"),
    ("model", "pc-x86-64"),
];

/// `walt-boot-script`.
pub fn boot_script(arguments: Vec<OsString>) -> Outcome {
    let Some((folder, given)) = arguments.split_first() else { return Err(Failure::Usage(2)) };
    let mut variables: Variables =
        EXAMPLE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for word in given {
        let word = word.to_str().and_then(|word| word.split_once('='));
        let (name, value) = word.ok_or(Failure::Usage(2))?;
        variables.insert(name.to_owned(), value.to_owned());
    }
    for (name, from) in [("name", "hostname"), ("server_ip", "next-server")] {
        variables.insert(name.to_owned(), variables[from].clone());
    }
    variables.insert("mac:hexhyp".to_owned(), variables["mac"].replace(':', "-"));
    let mut folder = Folder { path: PathBuf::from(folder) };
    let boot = ipxe::run(&mut folder, &Location::tftp("/start.ipxe"), variables)
        .map_err(|ended| Failure::plain(ended.to_string()))?;
    print(&format!("kernel        {}", boot.kernel.display()));
    for initrd in &boot.initrds {
        print(&format!("initrd        {}", initrd.display()));
    }
    print(&format!("command line  {}", boot.command_line));
    Ok(0)
}

fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A folder as the server shows it to a node: by TFTP, and by HTTP below `/boot`.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn open(&self, from: &Location) -> Result<(PathBuf, std::fs::File), String> {
        let inside = match from.protocol {
            Protocol::Tftp => Some(from.path.as_str()),
            Protocol::Http => from.path.strip_prefix("/boot"),
        };
        let inside = Path::new(inside.ok_or("no such file")?.trim_start_matches('/'));
        if inside.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err("no such file".to_owned());
        }
        let path = self.path.join(inside);
        let file = std::fs::File::open(&path).map_err(|error| error.to_string())?;
        Ok((path, file))
    }
}

impl Loader for Folder {
    type File = PathBuf;

    fn script(&mut self, from: &Location) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let (_, file) = self.open(from)?;
        file.take(ipxe::limits::SCRIPT as u64 + 1)
            .read_to_end(&mut text)
            .map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn file(&mut self, from: &Location, limit: u64) -> Result<(PathBuf, u64), String> {
        let (path, file) = self.open(from)?;
        let size = file.metadata().map_err(|error| error.to_string())?.len();
        if size > limit { Err("too large".to_owned()) } else { Ok((path, size)) }
    }

    fn say(&mut self, line: &str) {
        print(&format!("script        {line}"));
    }

    fn wait(&mut self, time: Duration) {
        print(&format!("script        waits {} s", time.as_secs()));
    }
}
