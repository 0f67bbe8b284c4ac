//! What `walt` can do: one file per command, named as the user types it.

pub mod advanced;
pub mod device;
pub mod help;
pub mod image;
pub mod log;
pub mod node;

use crate::failure::Failure;
use crate::grammar::{Args, Category};
use crate::server::Server;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use walt_proto::api::server::ServerInfo;
use walt_proto::api::{API_VERSION, route};

/// All categories, in the order they are listed.
pub static CATEGORIES: &[Category] = &[
    Category {
        name: "image",
        about: "management of operating system images of nodes",
        commands: &[
            image::show::COMMAND,
            image::search::COMMAND,
            image::clone::COMMAND,
            image::duplicate::COMMAND,
            image::remove::COMMAND,
            image::rename::COMMAND,
            image::publish::COMMAND,
            image::shell::COMMAND,
            image::sessions::COMMAND,
            image::cp::COMMAND,
            image::history::COMMAND,
            image::rollback::COMMAND,
            image::diff::COMMAND,
            image::build::COMMAND,
            image::squash::COMMAND,
            image::check::COMMAND,
        ],
    },
    Category {
        name: "node",
        about: "management of nodes",
        commands: &[
            node::show::COMMAND,
            node::acquire::COMMAND,
            node::release::COMMAND,
            node::boot::COMMAND,
            node::shell::COMMAND,
            node::run::COMMAND,
            node::cp::COMMAND,
            node::save::COMMAND,
            node::reboot::COMMAND,
            node::config::COMMAND,
            node::create::COMMAND,
            node::remove::COMMAND,
            node::rename::COMMAND,
            node::ping::COMMAND,
            node::console::COMMAND,
            node::wait::COMMAND,
            node::deploy::COMMAND,
        ],
    },
    Category {
        name: "log",
        about: "management of logs",
        commands: &[
            log::show::COMMAND,
            log::wait::COMMAND,
            log::add_checkpoint::COMMAND,
            log::remove_checkpoint::COMMAND,
            log::list_checkpoints::COMMAND,
            log::export::COMMAND,
            log::bundle::COMMAND,
            log::import::COMMAND,
            log::list_imports::COMMAND,
            log::remove_import::COMMAND,
        ],
    },
    Category {
        name: "device",
        about: "management of all devices of the platform network",
        commands: &[device::show::COMMAND, device::config::COMMAND, device::ping::COMMAND],
    },
    Category {
        name: "advanced",
        about: "rarely used or maintenance commands",
        commands: &[
            advanced::dump_bash_autocomplete::COMMAND,
            advanced::dump_zsh_autocomplete::COMMAND,
            advanced::rescan_hub_account::COMMAND,
            advanced::update_default_images::COMMAND,
            advanced::update_hub_meta::COMMAND,
            advanced::fix_image_owner::COMMAND,
            advanced::sql::COMMAND,
        ],
    },
    Category {
        name: "help",
        about: "built-in documentation",
        commands: &[help::list::COMMAND, help::show::COMMAND],
    },
];

/// The server, for any command that needs it.
///
/// # Errors
/// When `WALT_SERVER` is malformed.
pub fn server() -> Result<Server, Failure> {
    Server::from_environment()
}

/// Whether the user answered yes to all questions in advance.
pub fn yes(args: &Args) -> bool {
    args.flag("yes")
}

/// Who the server is, provided it and this client understand each other.
///
/// # Errors
/// Those of the connection; a server too old or too new.
pub fn server_info(server: &Server) -> Result<ServerInfo, Failure> {
    let info: ServerInfo = server.get(route::VERSION)?;
    let ours = env!("CARGO_PKG_VERSION");
    if API_VERSION < info.oldest_api {
        Err(Failure::plain(format!(
            "This client (version {ours}) is too old for the server (version {}): update the client.",
            info.version
        )))
    } else if API_VERSION > info.api + 1 {
        Err(Failure::plain(format!(
            "The server (version {}) is too old for this client (version {ours}): update the server.",
            info.version
        )))
    } else {
        Ok(info)
    }
}

/// The time zone times are shown in: the server's.
///
/// # Errors
/// Those of [`server_info`].
pub fn server_zone(server: &Server) -> Result<TimeZone, Failure> {
    let name = server_info(server)?.timezone;
    Ok(TimeZone::get(&name).unwrap_or(TimeZone::UTC))
}

/// `2026-01-31 12:00:00`.
pub fn date(timestamp: Timestamp, zone: &TimeZone) -> String {
    timestamp.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
