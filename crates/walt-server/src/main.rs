//! The WalT server.

use std::process::ExitCode;

use clap::Parser;
use walt_server::compose;
use walt_server::configuration;
use walt_server::import::DbVerb;
use walt_server::options::{CommandLine, Verb};
use walt_server::standby;
use walt_server::swap;

fn main() -> ExitCode {
    let done = match CommandLine::parse().verb {
        Verb::CheckConfig(options) => configuration::read(&options.config)
            .map(|_| println!("ok"))
            .map_err(anyhow::Error::from),
        Verb::Swap(options) => {
            compose::start_tracing();
            compose::raise_file_limit();
            swap::program::run(&options)
        }
        Verb::SqlWorker(options) => walt_server::sql::worker::run(&options),
        Verb::Db(DbVerb::Import(options)) => {
            compose::start_tracing();
            walt_server::import::run(&options)
        }
        Verb::Standby(options) => {
            compose::start_tracing();
            configuration::read(&options.config.config)
                .map_err(anyhow::Error::from)
                .and_then(|conf| standby::run(&conf, &options))
        }
        Verb::Run(options) => {
            compose::start_tracing();
            compose::raise_file_limit();
            configuration::read(&options.config.config)
                .map_err(anyhow::Error::from)
                .and_then(|conf| compose::run(conf, options))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
