//! The command line: what can be typed, as data. Parsing, help screens and completion all read it.

pub mod complete;
pub mod help;
pub mod parse;

use crate::failure::Outcome;
pub use parse::Args;

/// Carries out a command.
pub type Run = fn(&Args) -> Outcome;

/// `walt <category> ...`
pub struct Category {
    /// The word typed.
    pub name: &'static str,
    /// One line for the list of categories.
    pub about: &'static str,
    /// Commands in the order they are listed.
    pub commands: &'static [Command],
}

/// `walt <category> <command> ...`
pub struct Command {
    /// The word typed.
    pub name: &'static str,
    /// First line: what it does (also in listings). Following paragraphs: more about it.
    pub about: &'static str,
    /// A command line someone could type now, and what comes out of it.
    pub example: &'static str,
    /// Replaces the generated usage line.
    pub usage: &'static [&'static str],
    /// Positional arguments. Optional ones come after the others.
    pub positionals: &'static [Positional],
    /// Options, sorted by name.
    pub switches: &'static [Switch],
    /// Help topics to read next.
    pub topics: &'static [&'static str],
    /// Accepted but not listed.
    pub hidden: bool,
    /// What carries it out.
    pub run: Run,
}

impl Command {
    /// A command to be completed with `..Command::NEW`.
    pub const NEW: Command = Command {
        name: "",
        about: "",
        example: "",
        usage: &[],
        positionals: &[],
        switches: &[],
        topics: &[],
        hidden: false,
        run: |_| Ok(0),
    };

    /// First line of the description.
    pub fn summary(&self) -> &'static str {
        self.about.lines().next().unwrap_or_default()
    }

    /// The switch typed as `--<name>`, aliases included.
    pub fn switch(&self, name: &str) -> Option<&'static Switch> {
        self.switches.iter().find(|switch| switch.name == name || switch.aliases.contains(&name))
    }
}

/// A positional argument.
pub struct Positional {
    /// Its name in the help.
    pub name: &'static str,
    /// What it stands for.
    pub kind: Kind,
    /// `Some`: it may be left out, and this is shown as its default.
    pub default: Option<&'static str>,
    /// Takes all remaining words.
    pub variable: bool,
}

impl Positional {
    /// One that must be given.
    pub const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: None, variable: false }
    }

    /// One that may be left out.
    pub const fn optional(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self { name, kind, default: Some(default), variable: false }
    }

    /// The last one, taking any number of words.
    pub const fn variable(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: None, variable: true }
    }
}

/// An option.
pub struct Switch {
    /// Long name, without dashes.
    pub name: &'static str,
    /// Other long names.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
    /// The value it takes; none: a flag.
    pub value: Option<Kind>,
    /// Value when it is not given, for the help.
    pub default: &'static str,
    /// Switches that cannot be given together with it.
    pub excludes: &'static [&'static str],
}

impl Switch {
    /// A flag.
    pub const fn flag(name: &'static str, about: &'static str) -> Self {
        Self { name, aliases: &[], about, value: None, default: "", excludes: &[] }
    }

    /// An option with a value.
    pub const fn value(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, aliases: &[], about, value: Some(kind), default: "", excludes: &[] }
    }
}

/// `--json` of listings.
pub const JSON: Switch = Switch::flag("json", "print the answer as JSON, for programs");

/// `--yes` of commands that may ask.
pub const YES: Switch = Switch::flag("yes", "answer yes to the questions this command may ask");

/// What a word of the command line stands for: decides its completion, and its check for integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node.
    Node,
    /// A set of nodes.
    NodeSet,
    /// A device.
    Device,
    /// A set of devices.
    DeviceSet,
    /// A set of devices which may log.
    IssuerSet,
    /// An image of the user.
    Image,
    /// An image of the user, or `default`.
    ImageOrDefault,
    /// What `image clone` takes: `<location>:<owner>/<name>`.
    CloneLink,
    /// Label of a registry, or `auto`.
    Registry,
    /// First operand of `node cp`.
    NodeCpSource,
    /// Second operand of `node cp`.
    NodeCpDestination,
    /// First operand of `image cp`.
    ImageCpSource,
    /// Second operand of `image cp`.
    ImageCpDestination,
    /// A directory of this machine.
    Directory,
    /// A checkpoint of the user.
    Checkpoint,
    /// An imported bundle of logs.
    LogImport,
    /// A file of this machine.
    File(&'static str),
    /// A setting of the nodes of the set before it, `name=value`.
    NodeSetting,
    /// A setting of the devices of the set before it, `name=value`.
    DeviceSetting,
    /// A history range.
    HistoryRange,
    /// A help topic.
    Topic,
    /// One of some words.
    Choice(&'static str, &'static [&'static str]),
    /// An integer; the text is its name in the help.
    Integer(&'static str),
    /// Anything else; the text is its name in the help.
    Text(&'static str),
}

impl Kind {
    /// Name of the value in the help.
    pub const fn metavar(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::NodeSet => "SET_OF_NODES",
            Self::Device => "DEVICE",
            Self::DeviceSet => "SET_OF_DEVICES",
            Self::IssuerSet => "SET_OF_ISSUERS",
            Self::Image => "IMAGE",
            Self::ImageOrDefault => "IMAGE_OR_DEFAULT",
            Self::CloneLink => "IMAGE_CLONE_URL",
            Self::Registry => "REGISTRY",
            Self::NodeCpSource
            | Self::NodeCpDestination
            | Self::ImageCpSource
            | Self::ImageCpDestination => "PATH",
            Self::Directory => "DIRECTORY",
            Self::Checkpoint => "LOG_CHECKPOINT",
            Self::LogImport => "LOG_IMPORT",
            Self::File(name) => name,
            Self::NodeSetting => "NODE_CONFIG_PARAM",
            Self::DeviceSetting => "DEVICE_CONFIG_PARAM",
            Self::HistoryRange => "HISTORY_RANGE",
            Self::Topic => "HELP_TOPIC",
            Self::Choice(name, _) | Self::Integer(name) | Self::Text(name) => name,
        }
    }

    /// Name of its type in the help and in error messages.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Integer(_) => "int",
            _ => "str",
        }
    }
}
