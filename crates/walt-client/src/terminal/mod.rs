//! The user's terminal: what it can do, raw mode, questions, spinner, pager.

pub mod confirm;
pub mod meter;
pub mod pager;
pub mod raw;
pub mod signals;
pub mod spinner;

use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::AsFd;

/// Whether a person sits at both ends.
pub fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Whether standard output takes escape codes.
pub fn has_styles() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !dumb && !refused
}

/// Whether this was a terminal that is gone: its window was closed, its connection was cut. Reading then tells an end of
/// the input that nobody typed. The end of a pipe or of a file is no such thing.
pub fn hung_up(input: impl AsFd) -> bool {
    matches!(rustix::termios::tcgetattr(input), Err(rustix::io::Errno::IO))
}

/// Columns and rows of the terminal on standard output; the terminal itself knows better than `COLUMNS` and `LINES`.
pub fn size() -> (u16, u16) {
    let from = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (from("COLUMNS").unwrap_or(80), from("LINES").unwrap_or(24)),
    }
}

/// Value of `TERM` for the remote side.
pub fn term() -> String {
    std::env::var("TERM").ok().filter(|term| !term.is_empty()).unwrap_or_else(|| "xterm".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

    #[test]
    fn only_a_terminal_hangs_up() {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        assert!(!hung_up(&slave));
        drop(master);
        assert!(hung_up(&slave));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        assert!(!hung_up(&reader));
        assert!(!hung_up(std::fs::File::open("/dev/null").unwrap()));
    }
}
