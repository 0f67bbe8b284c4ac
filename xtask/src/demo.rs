//! `cargo xtask demo`: the main job, shown live on a private platform.

use std::io::IsTerminal;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries::{Binaries, Profile};
use crate::command::{self, answer, pause, show};
use crate::debian::Need;
use crate::platform::{Place, Platform};
use crate::progress::Step;
use crate::{node_image, packages, platform};

/// How to show it.
#[derive(clap::Args)]
pub struct Options {
    /// Stop everything after the tour instead of opening a shell on the platform.
    #[arg(long)]
    once: bool,
    /// Firmware of the node: bios or uefi.
    #[arg(long, default_value = "bios")]
    firmware: String,
    /// Name of the platform: of its namespace and of its state folder, /var/lib/walt-NAME.
    #[arg(long, default_value = "demo", value_parser = crate::platform::valid_name)]
    name: String,
    /// Use the programs `cargo build` makes, as the tests do, not those of `cargo build --release`.
    #[arg(long)]
    dev: bool,
    /// Remove the platform's state folder (images, databases) and do nothing else.
    #[arg(long)]
    clean: bool,
}

const NODE: &str = "demo-node";

/// Entry point of `cargo xtask demo`.
pub fn run(options: Options) -> Result<()> {
    command::catch_interruptions()?;
    let place = Place::named(&options.name);
    if options.clean {
        place.sweep()?;
        return match std::fs::remove_dir_all(&place.state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        };
    }
    println!("\nWalT-rs demo: a private platform in network namespace {}.", place.namespace);
    println!(
        "Its state is in {}; the rest of this machine is left alone.\n",
        place.state.display()
    );
    let outcome = on_platform(&options, place.clone());
    // Whatever happened, the tear-down runs whole.
    let interrupted = command::go_on().is_err();
    command::clear_interruption();
    let swept = place.sweep();
    if interrupted {
        swept?;
        bail!("interrupted; everything that was started has been removed");
    }
    outcome.and(swept)?;
    println!("\nStopped: no process, mount, interface or namespace is left.");
    println!(
        "The images stay in {} (`cargo xtask demo --clean` removes them).",
        place.state.display()
    );
    Ok(())
}

fn on_platform(options: &Options, place: Place) -> Result<()> {
    let step = Step::start("Debian packages");
    packages::ensure(Need::Image)?;
    step.done("are installed");
    let step = Step::start("walt and walt-server");
    let binaries = Binaries::build(if options.dev { Profile::Dev } else { Profile::Release })?;
    step.done("are built");
    let mut demo = Platform::prepare(place, binaries)?;
    platform::install_loaders(&demo.place)?;
    node_image::ensure(&demo.place)?;
    let step = Step::start("walt-server");
    demo.start_server()?;
    step.done("answers: DHCP, TFTP, HTTP, NFS, DNS and the node ports are up");
    tour(&demo, &options.firmware)?;
    if !options.once {
        stay(&demo)?;
    }
    demo.end()
}

fn tour(demo: &Platform, firmware: &str) -> Result<()> {
    // An earlier demo may have been interrupted with its node there.
    let nodes = answer(&mut demo.walt(["node", "show", "--all", "--names-only"]))?;
    if nodes.lines().any(|name| name == NODE) {
        answer(&mut demo.walt(["node", "remove", NODE]))?;
    }
    told(demo, &["image", "show", "--all"])?;
    told(demo, &["node", "create", NODE, "--firmware", firmware])?;
    watch_boot(demo)?;
    told(demo, &["node", "show", "--boot", NODE])?;
    told(demo, &["node", "show"])?;
    told(demo, &["node", "run", NODE, "grep PRETTY_NAME /etc/os-release; uname -r; df -h /"])?;
    told(demo, &["node", "run", NODE, "walt-log-echo tour 'hello from the node'"])?;
    pause(Duration::from_millis(500))?;
    told(demo, &["log", "show", "--history", "-1m:", "--issuers", "server,demo-node"])?;
    told(demo, &["node", "run", NODE, "echo forgotten > /root/note; echo kept > /persist/note"])?;
    told(demo, &["node", "reboot", NODE])?;
    watch_boot(demo)?;
    told(
        demo,
        &[
            "node",
            "run",
            NODE,
            "cat /persist/note; ls /root/note 2>/dev/null || echo '/root/note was forgotten'",
        ],
    )
}

/// Shows a command as a person would type it, then its answer.
fn told(demo: &Platform, words: &[&str]) -> Result<()> {
    let typed: Vec<String> = words
        .iter()
        .map(|word| {
            if word.contains([' ', '|', ';']) { format!("\"{word}\"") } else { (*word).to_owned() }
        })
        .collect();
    println!("\n$ walt {}", typed.join(" "));
    show(demo.walt(words).stdin(Stdio::null()))
}

/// Follows the node's boot, stage by stage, until it is booted and ssh answers.
fn watch_boot(demo: &Platform) -> Result<()> {
    println!();
    let mut step = Step::start(format!("{NODE} boots"));
    let limit = Duration::from_secs(300);
    loop {
        pause(Duration::from_millis(500))?;
        let text = answer(&mut demo.walt(["node", "show", "--boot", NODE, "--json"]))?;
        let report: Value = serde_json::from_str(&text)
            .with_context(|| format!("`walt node show --boot --json` answered {text}"))?;
        let report = if report.is_array() { &report[0] } else { &report };
        let stage = report["stages"].as_array().and_then(|stages| stages.last());
        let stage = stage.and_then(|stage| stage["stage"].as_str()).unwrap_or("power on");
        match report["state"].as_str() {
            Some("booted") => {
                step.done("and ssh answers");
                return Ok(());
            }
            Some("stopped") => bail!("the boot stopped: {}", report["stopped"]["cause"]),
            _ => step.at(stage),
        }
        if step.elapsed() > limit {
            show(&mut demo.walt(["node", "show", "--boot", NODE]))?;
            bail!("{NODE} is not booted after {} s; {}", limit.as_secs(), demo.last_words());
        }
    }
}

/// Leaves the platform to the person until they have enough.
fn stay(demo: &Platform) -> Result<()> {
    let [(_, socket), (_, path)] = &demo.environment()[..] else { bail!("no environment") };
    println!("\nThe platform is yours. In another terminal:\n");
    println!("    export WALT_SERVER={socket} PATH={}:$PATH", demo.binaries.folder.display());
    println!("    walt node shell {NODE}\n    walt help\n");
    if !std::io::stdin().is_terminal() {
        println!("Ctrl-C stops it.");
        loop {
            if pause(Duration::from_secs(3600)).is_err() {
                command::clear_interruption();
                return Ok(());
            }
        }
    }
    println!("Or here, in this shell. Leaving it (`exit`, ctrl-D) stops the platform.");
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let mut command = Command::new(shell);
    command.env("WALT_SERVER", socket).env("PATH", path).env("PS1", "walt-demo$ ");
    // How the shell ended says nothing about the demo.
    let _ = command.status()?;
    command::clear_interruption();
    // The next demo starts afresh.
    answer(&mut demo.walt(["node", "remove", NODE])).map(drop)
}
