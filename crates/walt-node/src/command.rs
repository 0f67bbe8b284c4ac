//! The table of commands. A command is a line here and a module.

use std::ffi::OsString;
use std::fmt::Write;

use crate::failure::Outcome;
use crate::{autolog, blink, boot_script, kexec, log};

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
        about: "Sends one log line.",
        deprecated: None,
        linked: true,
        run: log::echo,
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
