//! The table of commands. A command is a line here and a module.

use std::ffi::OsString;
use std::fmt::Write;

use crate::failure::Outcome;
use crate::{autolog, blink, boot_script, install, kexec, log};

/// A command of the program.
pub struct Command {
    /// The name it is called by.
    pub name: &'static str,
    /// Its form, printed when the arguments are wrong.
    pub usage: &'static str,
    /// What it does, for `--help`.
    pub about: &'static str,
    /// The name that replaces it.
    pub deprecated: Option<&'static str>,
    /// Does `walt-node install` give it a link of its own name in the image?
    pub linked: bool,
    /// The command.
    pub run: fn(Vec<OsString>) -> Outcome,
}

/// Every command.
pub const COMMANDS: &[Command] = &[
    // Logs.
    Command {
        name: "walt-log-echo",
        usage: "walt-log-echo [--timestamp|--ts <timestamp>] <log-stream> <log-line>",
        about: "Sends one line to a log stream of this node.",
        deprecated: None,
        linked: true,
        run: log::echo,
    },
    Command {
        name: "walt-log-cat",
        usage: "walt-log-cat [--ts-provided|--ts-local|--ts-server] <log-stream>",
        about: "Sends the lines of its input to a log stream of this node.\n\
            --ts-server: dated by the server (default); --ts-local: dated by this node;\n\
            --ts-provided (also --timestamp, --ts): the first word of a line is its date, in seconds.",
        deprecated: None,
        linked: true,
        run: log::cat,
    },
    Command {
        name: "walt-log-tee",
        usage: "walt-log-tee [--ts-provided|--ts-local|--ts-server] <log-stream>",
        about: "Sends the lines of its input to a log stream of this node, and copies them on its output.\n\
            --ts-server: dated by the server (default); --ts-local: dated by this node;\n\
            --ts-provided (also --timestamp, --ts): the first word of a line is its date, in seconds.",
        deprecated: None,
        linked: true,
        run: log::tee,
    },
    Command {
        name: "walt-log-monitor",
        usage: "walt-log-monitor <command> [arguments]",
        about: "Runs a command in a terminal of the logs daemon, and logs what it prints.",
        deprecated: None,
        linked: true,
        run: log::monitor,
    },
    Command {
        name: "walt-logs-daemon",
        usage: "walt-logs-daemon [--spool-size <MiB>] [--spool <folder>] [--socket <path>] [--fifo <path>] [--server <ip>[:<port>]]",
        about: "Keeps the log lines of the programs of this node and sends them to the server.",
        deprecated: None,
        linked: true,
        run: log::daemon,
    },
    Command {
        name: "walt-echo",
        usage: "walt-echo [--timestamp|--ts <timestamp>] <log-stream> <log-line>",
        about: "Old name of walt-log-echo.",
        deprecated: Some("walt-log-echo"),
        linked: true,
        run: log::echo,
    },
    Command {
        name: "walt-cat",
        usage: "walt-cat [--ts-provided|--ts-local|--ts-server] <log-stream>",
        about: "Old name of walt-log-cat.",
        deprecated: Some("walt-log-cat"),
        linked: true,
        run: log::cat,
    },
    Command {
        name: "walt-tee",
        usage: "walt-tee [--ts-provided|--ts-local|--ts-server] <log-stream>",
        about: "Old name of walt-log-tee.",
        deprecated: Some("walt-log-tee"),
        linked: true,
        run: log::tee,
    },
    Command {
        name: "walt-monitor",
        usage: "walt-monitor <command> [arguments]",
        about: "Old name of walt-log-monitor.",
        deprecated: Some("walt-log-monitor"),
        linked: true,
        run: log::monitor,
    },
    Command {
        name: "install",
        usage: "walt-node install [--root <folder>] [--init-system systemd|busybox]",
        about: "Makes the links of all commands and the service of the logs daemon, in an image or here.",
        deprecated: None,
        linked: false,
        run: install::install,
    },
    // Boot: the tools of the boot are declared here.
    Command {
        name: "walt-ipxe-kexec-reboot",
        usage: "walt-ipxe-kexec-reboot",
        about: "Reboots into the kernel of the node's current image, without the firmware.",
        deprecated: None,
        linked: true,
        run: kexec::reboot,
    },
    // A link that is a hook calls the program by the hook's name.
    Command {
        name: "walt-network-reboot",
        usage: "walt-network-reboot",
        about: "walt-ipxe-kexec-reboot, as the hook of an image that is a link to it.",
        deprecated: None,
        linked: false,
        run: kexec::reboot,
    },
    Command {
        name: "walt-reboot",
        usage: "walt-reboot",
        about: "walt-ipxe-kexec-reboot, as the hook of an image that is a link to it.",
        deprecated: None,
        linked: false,
        run: kexec::reboot,
    },
    Command {
        name: "walt-hybrid-reboot",
        usage: "walt-hybrid-reboot",
        about: "walt-ipxe-kexec-reboot, as the hook of an image that is a link to it.",
        deprecated: None,
        linked: false,
        run: kexec::reboot,
    },
    Command {
        name: "walt-boot-script",
        usage: "walt-boot-script <folder> [variable=value...]",
        about: "Shows what the boot scripts in a folder (/boot/<model> of an image) lead to.",
        deprecated: None,
        linked: false,
        run: boot_script::boot_script,
    },
    Command {
        name: "walt-serial-autolog",
        usage: "walt-serial-autolog <serial device>",
        about: "Logs the lines of a device on a serial port, as the device declares.",
        deprecated: None,
        linked: true,
        run: autolog::autolog,
    },
    Command {
        name: "walt-blink",
        usage: "walt-blink <0 or 1>",
        about: "Makes a light of the node blink, or stop.",
        deprecated: None,
        linked: true,
        run: blink::blink,
    },
];

/// `walt-node --help`.
pub fn help() -> String {
    let mut text =
        String::from("usage: walt-node COMMAND [ARGUMENTS...], or a link named as the command\n\n");
    for command in COMMANDS.iter().filter(|command| command.deprecated.is_none()) {
        let _ =
            writeln!(text, "  {:<26}{}", command.name, command.about.lines().next().unwrap_or(""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_of_images_are_links_to_commands() {
        for hook in ["walt-network-reboot", "walt-reboot", "walt-hybrid-reboot", "walt-blink"] {
            assert!(COMMANDS.iter().any(|command| command.name == hook), "{hook}");
        }
    }

    #[test]
    fn names_are_unique_and_replacements_exist() {
        for (index, command) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..index].iter().all(|other| other.name != command.name));
            if let Some(new) = command.deprecated {
                assert!(
                    COMMANDS.iter().any(|other| other.name == new && other.deprecated.is_none())
                );
            }
        }
    }
}
