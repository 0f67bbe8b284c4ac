//! What the kernel says of this process.

use std::fs;

use nix::unistd::SysconfVar;

/// Memory, files and processor time.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Open files.
    pub files: u64,
    /// Most files it may open.
    pub max_files: u64,
    /// Processor time, in seconds.
    pub cpu: f64,
    /// When it started, seconds since the epoch.
    pub started: f64,
}

impl Process {
    /// As it is now. What cannot be read is 0.
    pub(super) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program, in parentheses, may hold anything.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        // proc(5): state is field 3 of the file and 0 here.
        let number = |field: usize| {
            fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let system = |what, usual| nix::unistd::sysconf(what).ok().flatten().unwrap_or(usual);
        let ticks = system(SysconfVar::CLK_TCK, 100) as f64;
        let page = u64::try_from(system(SysconfVar::PAGE_SIZE, 4096)).unwrap_or(4096);
        let kernel = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted =
            kernel.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok());
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            resident: number(21) as u64 * page,
            files: fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as u64),
            max_files: limit.current.unwrap_or(0),
            cpu: (number(11) + number(12)) / ticks,
            started: booted.unwrap_or(0.0) + number(19) / ticks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let process = Process::now();
        assert!(process.resident > 100_000 && process.resident < 1 << 40, "{process:?}");
        assert!(process.files > 2 && process.files <= process.max_files, "{process:?}");
        assert!(process.started > 1.6e9, "{process:?}");
    }
}
