//! The command line of `walt-server`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::import::DbVerb;
use crate::sql::worker::WorkerOptions;
use crate::swap::program::SwapOptions;

/// The WalT server.
#[derive(Debug, Parser)]
#[command(name = "walt-server", version, about)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs of the server.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the platform until SIGTERM or ctrl-C
    Run(RunOptions),
    /// While the server is stopped, give known devices their address and Raspberry Pis their firmware
    Standby(StandbyOptions),
    /// Check the configuration file: print "ok", or every problem with its line and key
    CheckConfig(ConfigOption),
    /// Work on the databases of a stopped server
    #[command(subcommand)]
    Db(DbVerb),
    /// Serve swap space to nodes; the server starts this by itself, and it goes on when the server is replaced
    #[command(hide = true)]
    Swap(SwapOptions),
    /// Answer one question in SQL; the server starts this by itself
    #[command(hide = true)]
    SqlWorker(WorkerOptions),
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigOption {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = walt_model::server_conf::DEFAULT_PATH)]
    pub config: PathBuf,
}

/// How to stand in for a stopped server.
#[derive(Clone, Debug, Args)]
pub struct StandbyOptions {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigOption,
    /// The state directory of the server
    #[arg(long, value_name = "DIR", default_value = "/var/lib/walt")]
    pub state_dir: PathBuf,
}

/// How to run.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigOption,
    /// Directory of what must survive a reboot of this machine
    #[arg(long, value_name = "DIR", default_value = "/var/lib/walt")]
    pub state_dir: PathBuf,
    /// Directory of what need not: sockets, lock
    #[arg(long, value_name = "DIR", default_value = "/run/walt")]
    pub run_dir: PathBuf,
    /// Directory of the boot loaders given to PCs [default: <state-dir>/pxe]
    #[arg(long, value_name = "DIR")]
    pub pxe_dir: Option<PathBuf>,
    /// Stop virtual nodes and remove networks and mounts when stopping, instead of letting virtual
    /// nodes run until the next start
    #[arg(long)]
    pub stop_nodes_on_exit: bool,
}
