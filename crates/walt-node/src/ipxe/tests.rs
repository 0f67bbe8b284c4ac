#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::time::Duration;

use super::interpreter::Ended;
use super::*;

/// A server with these files; what was asked and said is kept.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
    said: Vec<String>,
    slept: Duration,
}

impl Server {
    fn with(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(at, text)| ((*at).to_owned(), text.as_bytes().to_vec()));
        Self { files: files.collect(), ..Self::default() }
    }

    fn run(&mut self) -> Result<Boot<String>, Ended> {
        run(self, &Location::tftp("/start.ipxe"), variables("QEMU"))
    }
}

impl Loader for Server {
    type File = String;

    fn script(&mut self, from: &Location) -> Result<Vec<u8>, String> {
        self.asked.push(from.to_string());
        self.files.get(&from.to_string()).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn file(&mut self, from: &Location, limit: u64) -> Result<(String, u64), String> {
        let size = self.script(from)?.len() as u64;
        if size > limit {
            return Err("too large".to_owned());
        }
        Ok((from.to_string(), size))
    }

    fn say(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }

    fn wait(&mut self, time: Duration) {
        self.slept += time;
    }
}

/// Those of the protocol description's example.
fn variables(maker: &str) -> Variables {
    [
        ("ip", "192.168.152.20"),
        ("mac", "52:54:00:01:02:03"),
        ("mac:hexhyp", "52-54-00-01-02-03"),
        ("netmask", "255.255.255.0"),
        ("gateway", ""),
        ("hostname", "vnode1"),
        ("next-server", "192.168.152.1"),
        ("manufacturer", maker),
        ("product", "Standard PC (i440FX + PIIX, 1996)"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The requests and the command line of the protocol description (4.7), with scripts of the form it tells.
#[test]
fn the_example_of_the_protocol() {
    let mut server = Server::with(&[
        (
            "tftp:/start.ipxe",
            "#!ipxe\nset node_model pc-x86-64\nchain /start-generic.ipxe || reboot\n",
        ),
        (
            "tftp:/start-generic.ipxe",
            "set cache nocto,acregmin=157680000,acregmax=157680000,acdirmin=157680000,acdirmax=157680000\n\
             set root root=/dev/nfs boot=walt rootfstype=walt \
             nfsroot=${next-server}:/var/lib/walt/nodes/${mac}/fs,ro,vers=3,nolock,${cache}\n\
             set urlprefix http://${next-server}/boot\n\
             chain ${urlprefix}/start-generic-2.ipxe || set urlprefix && chain ${urlprefix}/start-generic-2.ipxe\n",
        ),
        (
            "http:/boot/start-generic-2.ipxe",
            "chain ${urlprefix}/server-params.ipxe ||\n\
             chain ${urlprefix}/boot-params.ipxe ||\n\
             chain ${urlprefix}/${manufacturer}/${product}/boot-params.ipxe ||\n\
             initrd ${urlprefix}/initrd || \n\
             set node walt.node.model=${node_model} walt.server.ip=${next-server}\n\
             set net ip=${ip}:${next-server}:${gateway}:${netmask}:${hostname}::off BOOTIF=01-${mac:hexhyp}\n\
             kernel ${urlprefix}/kernel initrd=initrd ${root} ${node} ${nothing} init=/bin/walt-init panic=30 ${net} \
             ${console}\nboot || reboot\n",
        ),
        ("http:/boot/server-params.ipxe", "set server_mac 02:00:00:00:00:01"),
        (
            "http:/boot/QEMU/Standard PC (i440FX + PIIX, 1996)/boot-params.ipxe",
            "set console console=ttyS0",
        ),
        ("http:/boot/initrd", "i"),
        ("http:/boot/kernel", "k"),
    ]);
    let boot = server.run().unwrap();
    assert_eq!(
        server.asked,
        [
            "tftp:/start.ipxe",
            "tftp:/start-generic.ipxe",
            "http:/boot/start-generic-2.ipxe",
            "http:/boot/server-params.ipxe",
            "http:/boot/boot-params.ipxe",
            "http:/boot/QEMU/Standard PC (i440FX + PIIX, 1996)/boot-params.ipxe",
            "http:/boot/initrd",
            "http:/boot/kernel",
        ]
    );
    assert_eq!(server.said, ["http:/boot/boot-params.ipxe: no such file"]);
    assert_eq!((boot.kernel.as_str(), boot.initrds.len()), ("http:/boot/kernel", 1));
    assert_eq!(
        boot.command_line,
        "initrd=initrd root=/dev/nfs boot=walt rootfstype=walt \
         nfsroot=192.168.152.1:/var/lib/walt/nodes/52:54:00:01:02:03/fs,ro,vers=3,nolock,nocto,\
         acregmin=157680000,acregmax=157680000,acdirmin=157680000,acdirmax=157680000 \
         walt.node.model=pc-x86-64 walt.server.ip=192.168.152.1  init=/bin/walt-init panic=30 \
         ip=192.168.152.20:192.168.152.1::255.255.255.0:vnode1::off BOOTIF=01-52-54-00-01-02-03 console=ttyS0"
    );
}

/// The scripts of the Debian image, over HTTP, over TFTP, on a machine of a known maker and of another.
#[test]
fn the_scripts_of_the_debian_image() {
    const FOLDER: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../images/debian/files/boot/pc-x86-64/");
    let read = |name: &str| std::fs::read_to_string(format!("{FOLDER}{name}")).unwrap();
    for (prefix, maker, console) in [
        ("http:/boot", "QEMU", "console=ttyS0 tsc=reliable"),
        ("tftp:", "ACME & Sons", "console=tty1 console=ttyS0 quiet"),
    ] {
        let at = |name: &str| format!("{prefix}/{name}");
        let mut server = Server::with(&[
            ("tftp:/start.ipxe", &read("start.ipxe")),
            (&at("start-generic.ipxe"), &read("start-generic.ipxe")),
            (&at("QEMU/boot-params.ipxe"), &read("QEMU/boot-params.ipxe")),
            (&at("initrd"), "i"),
            (&at("kernel"), "k"),
        ]);
        let boot = run(&mut server, &Location::tftp("/start.ipxe"), variables(maker)).unwrap();
        assert_eq!(boot.kernel, at("kernel"));
        assert_eq!(boot.initrds, [at("initrd")]);
        assert!(boot.command_line.contains(" init=/bin/walt-init panic=30 "));
        assert!(boot.command_line.contains(" BOOTIF=01-52-54-00-01-02-03 "));
        assert!(boot.command_line.contains(console), "{}", boot.command_line);
        // The image without its kernel: the script asks for a reboot.
        server.files.remove(&at("kernel"));
        assert!(matches!(server.run(), Err(Ended::Reboot(Some(_)))));
    }
}

fn start(script: &str) -> (Server, Result<Boot<String>, Ended>) {
    let mut server = Server::with(&[
        ("tftp:/start.ipxe", script),
        ("tftp:/ok", "# nothing"),
        ("tftp:/bad", "echo before\nkernel missing\necho after\n"),
        ("tftp:/self", "chain self"),
        ("tftp:/k", "k"),
        ("tftp:/i1", "1"),
        ("tftp:/i2", "2"),
    ]);
    let outcome = server.run();
    (server, outcome)
}

#[test]
fn operators_are_left_associative() {
    for (line, said) in [
        ("echo a && echo b || echo c", vec!["a", "b"]),
        ("chain ok || echo a && echo b", vec!["b"]),
        ("chain no || echo a && echo b", vec!["tftp:/no: no such file", "a", "b"]),
        ("chain no && echo a || echo b", vec!["tftp:/no: no such file", "b"]),
        ("|| echo a", vec![]),
        ("&& echo a", vec!["a"]),
        ("chain no ||", vec!["tftp:/no: no such file"]),
        ("chain no || && echo a", vec!["tftp:/no: no such file", "a"]),
    ] {
        let (server, outcome) = start(line);
        assert_eq!(outcome, Err(Ended::WithoutBoot), "{line}");
        assert_eq!(server.said, said, "{line}");
    }
}

#[test]
fn a_script_stops_at_its_first_failure_and_its_chain_fails() {
    let (server, outcome) = start("chain bad\necho never\n");
    assert_eq!(
        outcome,
        Err(Ended::Failed(
            "tftp:/start.ipxe, line 1: tftp:/bad, line 2: tftp:/missing: no such file".to_owned()
        ))
    );
    assert_eq!(server.said, ["before"]);
    let (server, _) = start("chain bad || echo instead\n");
    assert_eq!(server.said.last().unwrap(), "instead");
}

#[test]
fn boot_stops_everything() {
    let (server, outcome) = start(
        "initrd i1\ninitrd i2\nkernel k a  'b c' ${no} d || reboot\nboot || reboot\necho never",
    );
    let boot = outcome.unwrap();
    assert_eq!(boot.command_line, "a b c  d");
    assert_eq!(boot.initrds, ["tftp:/i1", "tftp:/i2"]);
    assert!(server.said.is_empty());
    assert_eq!(start("boot k x=1").1.unwrap().command_line, "x=1");
    // What was loaded before is forgotten.
    assert_eq!(start("initrd i1\nimgfree\nkernel k\nboot").1.unwrap().initrds, [""; 0]);
    assert!(matches!(start("boot").1, Err(Ended::Failed(why)) if why.contains("no kernel")));
}

#[test]
fn what_is_not_of_the_subset_ends_everything() {
    for (line, why) in [
        ("iseq a b ||", "`iseq` is not known here"),
        ("dhcp || echo a", "`dhcp`"),
        ("chain --autofree ok ||", "the option --autofree"),
        ("echo 'a ||", "quote"),
        ("set ||", "`set` with 0 words"),
        ("chain ok ok ||", "`chain` with 2 words"),
    ] {
        match start(line).1 {
            Err(Ended::Refused(said)) => {
                assert!(
                    said.starts_with("tftp:/start.ipxe, line 1: ") && said.contains(why),
                    "{said}"
                );
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(matches!(start("shell").1, Err(Ended::Failed(_))));
    assert_eq!(start("chain ok && reboot").1, Err(Ended::Reboot(None)));
}

#[test]
fn nothing_grows_without_end() {
    let refused = |script: &str, why: &str| match start(script).1 {
        Err(Ended::Refused(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{why}: {other:?}"),
    };
    refused("chain self ||", "without end");
    refused(&"chain ok\n".repeat(200), "without end");
    refused(&format!("set a x\n{}", "set a ${a}${a}\n".repeat(40)), "4096 bytes");
    refused(&(0..300).map(|n| format!("set v{n}\n")).collect::<String>(), "too many variables");
    refused(&"&&".repeat(limits::DIRECTIVES), "too many directives");
    assert!(matches!(start(&"#".repeat(limits::SCRIPT + 1)).1, Err(Ended::Failed(_))));
    assert_eq!(start("sleep 15\nsleep 99999999").0.slept, limits::SLEEP);
}
