//! `walt-ipxe-kexec-reboot`: from the running kernel to the one of the node's current image, without its firmware.

mod machine;
mod server;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::ipxe::{self, Boot, Loader, Location, Variables};
use crate::program::{self, Folder};
use crate::report::Report;
use machine::Machine;
use server::{NodeInfo, PORTS, Server};

/// When the caller gives up (a hook has 60 s), it reboots the slow way: everything must be done before.
const TIME: Duration = Duration::from_secs(50);

/// How long the loading of the kernel may take.
const LOAD: Duration = Duration::from_secs(20);

/// The stream of this tool's messages.
const STREAM: &str = "walt-kexec";

/// Reboots. Comes back, with a failure, when that was not possible: the caller then reboots as machines do.
pub fn reboot(arguments: Vec<OsString>) -> Outcome {
    if !arguments.is_empty() {
        return Err(Failure::Usage(2));
    }
    let deadline = Instant::now() + TIME;
    let kexec = program::find("kexec").ok_or_else(|| {
        Failure::plain("there is no kexec program in this image (Debian: kexec-tools)")
    })?;
    let machine = Machine::here(Path::new("/")).map_err(Failure::plain)?;
    let mut report = Report::new(STREAM, machine.server);
    let outcome = try_reboot(&kexec, &machine, deadline, &mut report);
    if let Err(why) = &outcome {
        report.line(&format!("No reboot without the firmware: {why}"));
        report.send();
    }
    outcome.map(|()| 0).map_err(|_| Failure::plain("the caller has to reboot"))
}

fn try_reboot(
    kexec: &Path,
    machine: &Machine,
    deadline: Instant,
    report: &mut Report,
) -> Result<(), String> {
    let server = Server { ip: machine.server, ports: PORTS, deadline };
    let node = server.node_info(&machine.mac)?;
    if !node.kexec_allowed {
        return Err("Kexec is not allowed for this node (cf. walt node config)".to_owned());
    }
    let folder =
        Folder::new("walt-kexec").map_err(|error| format!("no place for boot files: {error}"))?;
    let mut loader =
        NodeLoader { server: &server, machine, node: &node, folder: &folder, files: 0, report };
    let boot = ipxe::run(&mut loader, &Location::tftp("/start.ipxe"), variables(machine, &node))
        .map_err(|ended| ended.to_string())?;
    load(kexec, &boot, &folder)?;
    report.line(&format!("Going over to the kernel of the current image: {}", boot.command_line));
    report.send();
    // The files are in the kernel's hands now, and the memory they take is the next kernel's.
    drop(folder);
    let is_network = std::env::var_os("walt_boot_mode").is_none_or(|mode| mode == "network");
    leave(kexec, is_network)
}

/// The variables of the scripts.
fn variables(machine: &Machine, node: &NodeInfo) -> Variables {
    let (ip, server) = (node.ip.to_string(), machine.server.to_string());
    [
        ("ip", ip.as_str()),
        ("mac", &machine.mac),
        ("mac:hexhyp", &machine.mac.replace(':', "-")),
        ("netmask", &node.netmask),
        ("gateway", &node.gateway),
        ("hostname", &node.name),
        ("name", &node.name),
        ("model", &machine.model),
        ("server_ip", &server),
        ("next-server", &server),
        ("manufacturer", &machine.manufacturer),
        ("product", &machine.product),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

struct NodeLoader<'a> {
    server: &'a Server,
    machine: &'a Machine,
    node: &'a NodeInfo,
    folder: &'a Folder,
    files: usize,
    report: &'a mut Report,
}

impl NodeLoader<'_> {
    fn fetch(&self, from: &Location, limit: u64, to: &mut impl io::Write) -> Result<u64, String> {
        self.server.fetch(from, (&self.machine.mac, self.node.ip), limit, to)
    }
}

impl Loader for NodeLoader<'_> {
    type File = PathBuf;

    fn script(&mut self, from: &Location) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        self.fetch(from, ipxe::limits::SCRIPT as u64, &mut text)?;
        Ok(text)
    }

    fn file(&mut self, from: &Location, limit: u64) -> Result<(PathBuf, u64), String> {
        self.files += 1;
        let path = self.folder.path().join(format!("file-{}", self.files));
        let mut file = File::create(&path).map_err(|error| error.to_string())?;
        let fetched = self.fetch(from, limit, &mut file);
        if fetched.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        let size = fetched?;
        self.report.line(&format!("{from}: {size} bytes"));
        Ok((path, size))
    }

    fn say(&mut self, line: &str) {
        self.report.line(&format!("script: {line}"));
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Gives the kernel what it goes over to.
fn load(kexec: &Path, boot: &Boot<PathBuf>, folder: &Folder) -> Result<(), String> {
    let mut words: Vec<OsString> = vec!["-l".into(), boot.kernel.clone().into()];
    if !boot.initrds.is_empty() {
        let initrd = joined(&boot.initrds, folder).map_err(|error| format!("initrd: {error}"))?;
        words.extend(["--initrd".into(), initrd.into()]);
    }
    words.extend(["--command-line".into(), boot.command_line.clone().into()]);
    program::run(kexec, &words, LOAD).or_else(|why| {
        // A kernel that takes signed ones only wants the file itself.
        words.insert(0, "-s".into());
        program::run(kexec, &words, LOAD).map_err(|_| why)
    })
}

/// One file of all of them; each begins at a multiple of 4 bytes, as the kernel wants it.
fn joined(initrds: &[PathBuf], folder: &Folder) -> io::Result<PathBuf> {
    if let [only] = initrds {
        return Ok(only.clone());
    }
    let path = folder.path().join("initrd");
    let mut file = File::create(&path)?;
    for part in initrds {
        let size = io::copy(&mut File::open(part)?, &mut file)?;
        let padding = [0; 3];
        io::Write::write_all(&mut file, &padding[..(4 - (size % 4) as usize) % 4])?;
        std::fs::remove_file(part)?;
    }
    Ok(path)
}

/// Leaves this kernel. A node whose files are in memory has nothing to stop cleanly; one with a disk has.
fn leave(kexec: &Path, is_network: bool) -> Result<(), String> {
    if is_network {
        program::sync(Duration::from_secs(5));
        program::run(kexec, &["-e".into()], LOAD)?;
        return Err("`kexec -e` came back".to_owned());
    }
    // systemd goes over by itself only if asked to; what else shuts a system down does it with a loaded kernel.
    let has_systemd = Path::new("/run/systemd/system").is_dir();
    match program::find("systemctl").filter(|_| has_systemd) {
        Some(systemctl) => program::run(&systemctl, &["kexec".into()], LOAD),
        None => {
            let reboot = program::find("reboot").ok_or("there is no reboot program")?;
            program::run(&reboot, &[], LOAD)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn initrds_are_joined_at_multiples_of_four() {
        let folder = Folder::new("walt-test").unwrap();
        let part = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let parts = [part("a", b"12345"), part("b", b"1234"), part("c", b"1")];
        let whole = std::fs::read(joined(&parts, &folder).unwrap()).unwrap();
        assert_eq!(whole, b"12345\0\0\x001234\x31\0\0\0");
        assert_eq!(joined(&[part("d", b"x")], &folder).unwrap(), folder.path().join("d"));
    }

    #[test]
    fn loading_is_told_the_files_and_the_command_line() {
        let folder = Folder::new("walt-test").unwrap();
        let kexec = folder.path().join("kexec");
        std::fs::write(&kexec, "#!/bin/sh\nprintf '[%s]' \"$@\" >\"${0%/*}/words\"\n[ \"$1\" = -s ] || { echo refused >&2; exit 1; }\n")
            .unwrap();
        std::fs::set_permissions(&kexec, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let boot = Boot {
            kernel: "/k".into(),
            initrds: vec!["/i".into()],
            command_line: "a 'b  $c".to_owned(),
        };
        load(&kexec, &boot, &folder).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("words")).unwrap(),
            "[-s][-l][/k][--initrd][/i][--command-line][a 'b  $c]"
        );
    }
}
