//! What `show` and `wait` share: selecting records and printing them.

use crate::command::server_zone;
use crate::failure::Failure;
use crate::grammar::{Args, Kind, Switch};
use crate::output;
use crate::server::Server;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use walt_model::log_format::Shown;
use walt_model::{LogFormat, Regex};
use walt_proto::api::log::{LogQuery, LogRecord};

/// Format of the lines.
pub const FORMAT: Switch = Switch {
    default: LogFormat::DEFAULT,
    ..Switch::value("format", Kind::Text("LOG_FORMAT"), "how each line is displayed")
};

/// Who logged.
pub const ISSUERS: Switch = Switch {
    aliases: &["emitters", "nodes"],
    default: "my-nodes",
    ..Switch::value("issuers", Kind::IssuerSet, "nodes (and server) whose logs are selected")
};

/// Which streams.
pub const STREAMS: Switch = Switch::value(
    "streams",
    Kind::Text("STREAMS_REGEXP"),
    "regular expression searched in the names of streams",
);

/// Where to look.
pub const IMPORT: Switch = Switch::value(
    "import",
    Kind::LogImport,
    "look into an imported bundle instead of the logs of the platform",
);

/// Shortcut.
pub const PLATFORM: Switch = Switch {
    excludes: &["server", "issuers", "streams"],
    ..Switch::flag("platform", "platform events; same as --issuers server --streams 'platform.*'")
};

/// Shortcut.
pub const SERVER: Switch = Switch {
    excludes: &["platform", "issuers", "streams"],
    ..Switch::flag(
        "server",
        "messages of the server; same as --issuers server --streams 'daemon.*'",
    )
};

/// Records to select; history and realtime are left to the command.
///
/// # Errors
/// An invalid regular expression.
pub fn query(args: &Args, line: Option<&str>) -> Result<LogQuery, Failure> {
    let (issuers, streams) = if args.flag("platform") {
        ("server", Some("platform.*"))
    } else if args.flag("server") {
        ("server", Some("daemon.*"))
    } else {
        (args.value("issuers").unwrap_or("my-nodes"), args.value("streams"))
    };
    for expression in [streams, line].into_iter().flatten() {
        expression.parse::<Regex>().map_err(|error| Failure::plain(error.to_string()))?;
    }
    Ok(LogQuery {
        issuers: Some(issuers.to_owned()),
        streams: streams.map(str::to_owned),
        line: line.map(str::to_owned),
        import: args.value("import").map(str::to_owned),
        ..LogQuery::default()
    })
}

/// Prints records.
pub struct Printer {
    format: LogFormat,
    zone: TimeZone,
}

impl Printer {
    /// Prints as asked by `--format`, in the time zone of the server.
    ///
    /// # Errors
    /// A wrong format; those of the connection.
    pub fn new(args: &Args, server: &Server) -> Result<Self, Failure> {
        let format = match args.value("format") {
            None => LogFormat::default(),
            Some(text) => text
                .parse()
                .map_err(|error: walt_model::LogFormatError| Failure::plain(error.to_string()))?,
        };
        Ok(Self { format, zone: server_zone(server)? })
    }

    /// Prints one record.
    pub fn print(&self, record: &LogRecord) {
        let timestamp = Timestamp::from_microsecond(record.timestamp_us).unwrap_or_default();
        let line = output::printable(&record.line);
        let stream = output::printable(&record.stream);
        let shown = Shown {
            timestamp,
            issuer: &record.issuer,
            stream: &stream,
            line: &line,
            clock: record.clock_offset_us.zip(record.clock_uncertainty_us),
        };
        output::line(&self.format.render(&shown, &self.zone));
    }
}
