//! `cargo xtask bench`: figures, each next to a peer or a physical limit of the same run.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries::{Binaries, Profile};
use crate::command::{self, answer, pause, repository};
use crate::debian::Need;
use crate::platform::{self, Place, Platform};
use crate::progress::seconds;
use crate::{bench_images, bench_logs, node_image, packages};

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// How many nodes run when the server's memory is read.
    #[arg(long, default_value_t = 4)]
    nodes: u32,
    /// How many times a command is run for its median.
    #[arg(long, default_value_t = 100)]
    runs: usize,
    /// Measure this part only.
    #[arg(value_enum)]
    part: Option<Part>,
    /// Fewer lines of logs: less exact, within half a minute.
    #[arg(long)]
    short: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Ingest, live tail, search and size of logs, next to PostgreSQL.
    Logs,
    /// Every verb on images, next to podman, buildah and skopeo.
    Images,
}

/// Entry point of `cargo xtask bench`: optimised programs on a platform of their own.
pub fn run(options: Options) -> Result<()> {
    command::catch_interruptions()?;
    packages::ensure(Need::Test)?;
    let place = Place::named("bench");
    let mut platform = Platform::prepare(place, Binaries::build(Profile::Release)?)?;
    if options.part == Some(Part::Logs) {
        platform.start_server()?;
        let measured = bench_logs::run(&platform, bench_logs::Amount::of(options.short));
        platform.end()?;
        return measured;
    }
    node_image::ensure(&platform.place)?;
    if options.part == Some(Part::Images) {
        bench_images::configure(&platform)?;
        platform.start_server()?;
        let measured = bench_images::run(&platform);
        platform.end()?;
        return measured;
    }
    platform::install_loaders(&platform.place)?;
    platform.start_server()?;
    let measured = measure(&platform, options.nodes.max(1), options.runs.max(1));
    platform.end()?;
    measured
}

/// The short form that the tests run, on their platform and with their programs.
pub fn short(platform: &Platform) -> Result<()> {
    measure(platform, 1, 10)?;
    bench_logs::run(platform, bench_logs::Amount::of(true))
}

fn measure(platform: &Platform, nodes: u32, runs: usize) -> Result<()> {
    println!();
    memory(platform, "no node")?;
    let direct = direct_boot(platform)?;
    let names: Vec<String> = (1..=nodes).map(|number| format!("bench-{number}")).collect();
    let first = create_to_ssh(platform, &names[0])?;
    println!("create to ssh: {}", seconds(first));
    println!("  direct -kernel boot of the same image: {}", seconds(direct));
    println!("  ratio: {:.2}", first.as_secs_f64() / direct.as_secs_f64());
    for name in &names[1..] {
        answer(&mut platform.walt(["node", "create", name]))?;
    }
    let set = names.join(",");
    answer(&mut platform.walt(["node", "wait", "--timeout", "900", &set]))?;
    memory(platform, &format!("{nodes} booted"))?;
    command_time(platform, runs)?;
    for name in &names {
        answer(&mut platform.walt(["node", "remove", name]))?;
    }
    Ok(())
}

fn memory(platform: &Platform, when: &str) -> Result<()> {
    let pid = platform.server_pid().context("the server does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
        .context("no VmRSS in /proc")?;
    println!("server resident memory, {when}: {:.1} MiB", kib as f64 / 1024.0);
    Ok(())
}

/// From `walt node create` to an answer of ssh, with the stages the server saw.
fn create_to_ssh(platform: &Platform, name: &str) -> Result<Duration> {
    let started = Instant::now();
    answer(&mut platform.walt(["node", "create", name]))?;
    answer(&mut platform.walt(["node", "wait", "--timeout", "300", name]))?;
    answer(&mut platform.walt(["node", "run", name, "true"]))?;
    let elapsed = started.elapsed();
    print!("{}", answer(&mut platform.walt(["node", "show", "--boot", name]))?);
    Ok(elapsed)
}

/// The wall time of `walt node show`, next to starting a program that does nothing.
fn command_time(platform: &Platform, runs: usize) -> Result<()> {
    let median = |make: &dyn Fn() -> Command| -> Result<Duration> {
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let started = Instant::now();
            answer(&mut make())?;
            times.push(started.elapsed());
        }
        times.sort();
        Ok(times[runs / 2])
    };
    let show = median(&|| platform.walt(["node", "show"]))?;
    let nothing = median(&|| Command::new("/bin/true"))?;
    println!(
        "walt node show: {:.1} ms (/bin/true: {:.1} ms, ratio {:.1})",
        show.as_secs_f64() * 1e3,
        nothing.as_secs_f64() * 1e3,
        show.as_secs_f64() / nothing.as_secs_f64()
    );
    Ok(())
}

/// Ends the virtual machine whatever happens.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts QEMU with the image's kernel at once: no firmware, no DHCP, no loader, no download. What is
/// left (kernel, NFS root, init, sshd) is what no network boot can be faster than.
fn direct_boot(platform: &Platform) -> Result<Duration> {
    const MACHINE: &str = "bench-direct";
    const TAP: &str = "tap-direct";
    let tool = |name: &str| {
        let mut command = Command::new(repository().join("checks/platform").join(name));
        command.env("WALT_CHECK_NAMESPACE", &platform.place.namespace);
        command
    };
    // A machine of walt-net says once by DHCP that it is a PC node: the server knows it from then on.
    answer(tool("platform-machine").arg(MACHINE))?;
    let registered = (|| {
        let mut client = Command::new("ip");
        client.args(["netns", "exec", MACHINE, "udhcpc", "-f", "-q", "-n", "-i", "eth0"]);
        client.args(["-V", "walt.node.pc-x86-64", "-s", "/bin/true"]);
        answer(&mut client)?;
        answer(Command::new("ip").args([
            "netns",
            "exec",
            MACHINE,
            "cat",
            "/sys/class/net/eth0/address",
        ]))
    })();
    answer(tool("platform-unplug").arg(MACHINE))?;
    let mac = registered?.trim().to_owned();
    let node = find_node(platform, &mac)?;
    let address = node["ip"].as_str().context("the node has no address")?.to_owned();
    let name = node["name"].as_str().context("the node has no name")?.to_owned();

    let folder = platform.place.run.join("direct");
    fs::create_dir_all(&folder)?;
    for file in ["kernel", "initrd"] {
        let url = format!("http://192.168.152.1/boot/{file}?node_ip={address}");
        // Its image is being prepared since the node was seen: it is there within seconds.
        let retry = ["-sf", "--retry", "30", "--retry-delay", "1", "--retry-all-errors", "-o"];
        answer(platform.inside("curl").args(retry).arg(folder.join(file)).arg(url))?;
    }
    answer(platform.inside("ip").args(["tuntap", "add", "dev", TAP, "mode", "tap"]))?;
    answer(platform.inside("ip").args(["link", "set", TAP, "master", "walt-net", "up"]))?;
    let parameters = format!(
        "root=/dev/nfs boot=walt nfsroot=192.168.152.1:/var/lib/walt/nodes/{mac}/fs,ro,vers=3,nolock,\
         nocto,acregmin=157680000,acregmax=157680000,acdirmin=157680000,acdirmax=157680000 \
         walt.node.model=pc-x86-64 walt.server.ip=192.168.152.1 init=/bin/walt-init panic=30 \
         ip={address}:192.168.152.1::255.255.255.0:{name}::off BOOTIF=01-{} console=ttyS0 net.ifnames=0",
        mac.replace(':', "-")
    );
    let mut qemu = platform.inside("qemu-system-x86_64");
    qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"]);
    // As many cores as a virtual node has by default.
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    qemu.args(["-smp", &cores.to_string(), "-display", "none", "-no-reboot", "-serial"]);
    qemu.arg(format!("file:{}", folder.join("console").display()));
    qemu.arg("-kernel").arg(folder.join("kernel")).arg("-initrd").arg(folder.join("initrd"));
    qemu.arg("-append").arg(parameters).arg("-netdev");
    qemu.arg(format!("tap,id=n0,ifname={TAP},script=no,downscript=no"));
    qemu.args(["-device", &format!("virtio-net-pci,netdev=n0,mac={mac}")]);
    let started = Instant::now();
    let machine = Machine(qemu.stdin(Stdio::null()).spawn().context("cannot start QEMU")?);
    let waited = answer(&mut platform.walt(["node", "wait", "--timeout", "300", &name]))
        .and_then(|_| answer(&mut platform.walt(["node", "run", &name, "true"])));
    let elapsed = started.elapsed();
    drop(machine);
    answer(platform.inside("ip").args(["link", "delete", TAP]))?;
    waited?;
    Ok(elapsed)
}

fn find_node(platform: &Platform, mac: &str) -> Result<Value> {
    for _ in 0..100 {
        let nodes = answer(&mut platform.walt(["node", "show", "--all", "--json"]))?;
        let nodes: Vec<Value> = serde_json::from_str(&nodes)?;
        if let Some(node) = nodes.into_iter().find(|node| node["mac"] == mac) {
            return Ok(node);
        }
        pause(Duration::from_millis(200))?;
    }
    bail!("{mac} did not become a node")
}
