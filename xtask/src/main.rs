//! What a person or CI runs in this repository: `cargo xtask demo|test|bench|fuzz|packages|image|agent|media`.

mod agent;
mod bench;
mod bench_images;
mod bench_logs;
mod binaries;
mod checks;
mod command;
mod debian;
mod demo;
mod flake;
mod fuzz;
mod lanes;
mod media;

mod node_image;
mod packages;
mod platform;
mod progress;
mod report;
mod test;

use clap::{Parser, Subcommand};

/// Demo, tests and benchmarks of WalT-rs, on real parts.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a private, virtual-only platform and show the main job on it.
    Demo(demo::Options),
    /// Install what is missing, then run every test: this is what CI runs.
    Test(test::Options),
    /// Measure, next to a peer or a physical limit in the same run.
    Bench(bench::Options),
    /// Send log lines, from inside a platform: the benchmarks start this.
    #[command(hide = true)]
    LogLoad(bench_logs::Load),
    /// Try the parsers of what machines send with inputs nobody thought of.
    Fuzz(fuzz::Options),
    /// Show or install the Debian packages this repository needs.
    Packages(packages::Options),
    /// Build the default node image without starting anything.
    Image(node_image::Options),
    /// Build the node agent, one static program per architecture.
    Agent(agent::Options),
    /// Make boot media: USB stick for PCs, SD card and network firmware for Raspberry Pi boards.
    Media(media::Options),
}

fn main() -> std::process::ExitCode {
    let done = match Cli::parse().verb {
        Verb::Demo(options) => demo::run(options),
        Verb::Test(options) => test::run(options),
        Verb::Bench(options) => bench::run(options),
        Verb::LogLoad(options) => bench_logs::load(options),
        Verb::Fuzz(options) => fuzz::run(options),
        Verb::Packages(options) => packages::run(options),
        Verb::Image(options) => node_image::run(options),
        Verb::Agent(options) => agent::run(options),
        Verb::Media(options) => media::run(options),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
