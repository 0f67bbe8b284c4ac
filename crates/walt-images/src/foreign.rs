//! Programs of another CPU: what has to be true before something of an image is run here.
//!
//! The kernel hands a program it cannot run itself to an interpreter (`binfmt_misc`,
//! <https://docs.kernel.org/admin-guide/binfmt-misc.html>): `qemu-<cpu>-static` of Debian's
//! `qemu-user-static`, `boot.binfmt` of NixOS. It has to be opened when it is registered (flag `F`), because
//! nothing of the server can be seen from inside an image.
//!
//! Whether all that is so is not guessed from files: a tiny program of that CPU is run in an empty directory,
//! which is how a container looks to it.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalogue::ImageId;
use crate::command::Command;
use crate::podman::{Podman, PodmanError, READ_DEADLINE};

/// Where the kernel's list of interpreters is.
const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";
/// Where interpreters are looked for, after `PATH`.
const PLACES: &[&str] = &["/usr/bin", "/usr/local/bin", "/run/current-system/sw/bin"];
/// Longest time the tiny program may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why programs of a CPU do not run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// No CPU of nodes is called like this.
    #[error(
        "programs for the CPU '{0}' cannot be run on this server: it knows amd64, 386, arm64 and arm"
    )]
    Unknown(String),
    /// The emulator is not installed.
    #[error(
        "programs for the CPU '{arch}' cannot be run on this server: {program} is not installed; install the \
         package qemu-user-static (NixOS: boot.binfmt.emulatedSystems)"
    )]
    NoEmulator {
        /// The CPU, as OCI images name it.
        arch: String,
        /// The program that was looked for.
        program: String,
    },
    /// The kernel does not take the emulator.
    #[error(
        "programs for the CPU '{arch}' cannot be run on this server: the kernel does not take {program} as their \
         interpreter ({why}); on the server, as root: mount -t binfmt_misc binfmt_misc {REGISTRY}"
    )]
    Refused {
        /// The CPU.
        arch: String,
        /// The emulator.
        program: String,
        /// What the system said.
        why: String,
    },
    /// The image cannot be asked for its CPU.
    #[error(transparent)]
    Podman(#[from] Box<PodmanError>),
    /// It is registered, and does not work all the same.
    #[error(
        "programs for the CPU '{arch}' cannot be run on this server, though {program} is registered: {why}"
    )]
    Broken {
        /// The CPU.
        arch: String,
        /// The emulator.
        program: String,
        /// What came instead.
        why: String,
    },
}

/// A CPU nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cpu {
    /// As OCI images name it (Go's `GOARCH`).
    arch: &'static str,
    /// As QEMU names it.
    qemu: &'static str,
    /// 64-bit.
    wide: bool,
    /// `e_machine` of its programs (ELF specification, figure 1-3).
    machine: u16,
    /// Instructions that end a program with status 0.
    exit: &'static [u8],
}

const CPUS: &[Cpu] = &[
    // mov $60,%eax; xor %edi,%edi; syscall
    Cpu {
        arch: "amd64",
        qemu: "x86_64",
        wide: true,
        machine: 62,
        exit: &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05],
    },
    // mov $1,%eax; xor %ebx,%ebx; int $0x80
    Cpu {
        arch: "386",
        qemu: "i386",
        wide: false,
        machine: 3,
        exit: &[0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80],
    },
    // mov x0, #0; mov x8, #93; svc #0
    Cpu {
        arch: "arm64",
        qemu: "aarch64",
        wide: true,
        machine: 183,
        exit: &[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4],
    },
    // mov r0, #0; mov r7, #1; svc 0
    Cpu {
        arch: "arm",
        qemu: "arm",
        wide: false,
        machine: 40,
        exit: &[0x00, 0x00, 0xa0, 0xe3, 0x01, 0x70, 0xa0, 0xe3, 0x00, 0x00, 0x00, 0xef],
    },
];

/// Makes sure that programs of a CPU run on this machine, also in containers. `arch` is the architecture of an
/// image (`amd64`, `386`, `arm64`, `arm`); a variant after `/` is ignored. Takes 5 ms when all is well; what is
/// missing in the kernel is set up.
///
/// # Errors
/// They do not run, and what to do about it.
pub async fn ensure(arch: &str) -> Result<(), ForeignError> {
    let wanted = arch.split('/').next().unwrap_or_default();
    let Some(cpu) = CPUS.iter().find(|cpu| cpu.arch == wanted) else {
        return Err(ForeignError::Unknown(arch.to_owned()));
    };
    if cpu.arch == native() || cpu.runs().await.is_ok() {
        return Ok(());
    }
    let program = format!("qemu-{}-static", cpu.qemu);
    let Some(emulator) = installed(&program) else {
        return Err(ForeignError::NoEmulator { arch: cpu.arch.into(), program });
    };
    let program = emulator.display().to_string();
    let registered = register(cpu, &emulator).await;
    if let Err(error) = cpu.runs().await {
        let (arch, program) = (cpu.arch.to_owned(), program);
        return Err(match registered {
            Err(why) => ForeignError::Refused { arch, program, why: why.to_string() },
            Ok(()) => ForeignError::Broken { arch, program, why: error },
        });
    }
    tracing::info!(arch = cpu.arch, program, "the kernel runs programs of this CPU from now on");
    Ok(())
}

/// Makes sure that the programs of an image run on this machine ([`ensure`]).
///
/// # Errors
/// They do not; or the image cannot be asked for its CPU.
pub async fn ensure_image(podman: &Podman, image: &ImageId) -> Result<(), ForeignError> {
    let args = ["image", "inspect", "--format", "{{.Architecture}}", image.as_str()];
    let answer = podman.run(&args, READ_DEADLINE).await.map_err(Box::new)?;
    ensure(String::from_utf8_lossy(&answer.stdout).trim()).await
}

/// The CPU of this server, as OCI images name it.
pub fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Cpu {
    /// Runs the tiny program in an empty directory.
    async fn runs(&self) -> Result<(), String> {
        let dir = tempdir().map_err(|error| error.to_string())?;
        let outcome = async {
            std::fs::File::create_new(dir.join("probe"))
                .and_then(|mut file| {
                    file.write_all(&self.program())?;
                    file.set_permissions(std::fs::Permissions::from_mode(0o700))
                })
                .map_err(|error| error.to_string())?;
            let run = Command::new("chroot").arg(&dir).arg("/probe").deadline(DEADLINE).run();
            run.await.map(drop).map_err(|error| error.to_string())
        }
        .await;
        let _ = std::fs::remove_dir_all(&dir);
        outcome
    }

    /// A static program that ends at once (ELF specification: header, one segment, code).
    fn program(&self) -> Vec<u8> {
        let (header, segment): (u16, u16) = if self.wide { (64, 56) } else { (52, 32) };
        let base: u64 = 0x1_0000;
        let entry = base + u64::from(header) + u64::from(segment);
        let size = u64::from(header) + u64::from(segment) + self.exit.len() as u64;
        let mut elf = Vec::new();
        // An address, an offset or a size, as wide as the CPU.
        let word = |elf: &mut Vec<u8>, value: u64| match self.wide {
            true => elf.extend(value.to_le_bytes()),
            // All values are below 2^32.
            false => elf.extend((value as u32).to_le_bytes()),
        };
        elf.extend(self.identification());
        elf.extend(1_u32.to_le_bytes());
        word(&mut elf, entry);
        word(&mut elf, header.into());
        word(&mut elf, 0);
        // EABI version 5, without which a kernel for ARM takes it for an old program.
        let flags: u32 = if self.arch == "arm" { 0x0500_0000 } else { 0 };
        elf.extend(flags.to_le_bytes());
        for value in [header, segment, 1, 0, 0, 0] {
            elf.extend(value.to_le_bytes());
        }
        // PT_LOAD, readable and executable.
        elf.extend(1_u32.to_le_bytes());
        if self.wide {
            elf.extend(5_u32.to_le_bytes());
        }
        for value in [0, base, base, size, size] {
            word(&mut elf, value);
        }
        if !self.wide {
            elf.extend(5_u32.to_le_bytes());
        }
        word(&mut elf, 0x1000);
        elf.extend(self.exit);
        elf
    }

    /// The first 20 bytes of its programs: identification, type (executable), machine.
    fn identification(&self) -> [u8; 20] {
        let class = if self.wide { 2 } else { 1 };
        let [low, high] = self.machine.to_le_bytes();
        [0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, low, high]
    }

    /// The line for the kernel: position-independent programs (type 3) and those of any system (byte 7) too.
    fn registration(&self, emulator: &Path) -> String {
        let hex =
            |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let mut mask = [0xff; 20];
        (mask[7], mask[16]) = (0, 0xfe);
        let magic = hex(&self.identification());
        format!(":walt-{}:M::{magic}:{}:{}:OPF", self.arch, hex(&mask), emulator.display())
    }
}

/// Gives the kernel the emulator of a CPU. What is registered last is asked first, so that an interpreter
/// without the flag `F` does not stand in the way.
async fn register(cpu: &Cpu, emulator: &Path) -> Result<(), io::Error> {
    let registry = Path::new(REGISTRY);
    if !registry.join("register").exists() {
        rustix::mount::mount(
            "binfmt_misc",
            registry,
            "binfmt_misc",
            rustix::mount::MountFlags::NOSUID
                | rustix::mount::MountFlags::NODEV
                | rustix::mount::MountFlags::NOEXEC,
            None,
        )?;
        if cpu.runs().await.is_ok() {
            return Ok(());
        }
    }
    let ours = registry.join(format!("walt-{}", cpu.arch));
    if ours.exists() {
        // Ours, of an emulator that was removed or replaced since.
        std::fs::write(&ours, "-1")?;
    }
    std::fs::write(registry.join("register"), cpu.registration(emulator))
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PLACES.iter().map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        // What the kernel is given has to be the file itself.
        .and_then(|path| path.canonicalize().ok())
}

/// A new directory that only we can enter.
fn tempdir() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("walt-probe-{}-{count}", std::process::id()));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    if let Err(error) = made {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        // Of a process of the past with our number.
        std::fs::remove_dir_all(&path)?;
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn our_own_programs_run() {
        let own = CPUS.iter().find(|cpu| cpu.arch == native()).unwrap();
        own.runs().await.unwrap();
        ensure(native()).await.unwrap();
    }

    /// What the test registers goes with its mounts.
    fn own_mounts() {
        use rustix::mount::{MountPropagationFlags, mount_change};
        let flags = rustix::thread::UnshareFlags::NEWNS;
        // SAFETY: no file descriptor table is shared or unshared by this flag.
        unsafe { rustix::thread::unshare_unsafe(flags).unwrap() };
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    }

    #[tokio::test]
    async fn those_of_others_run_once_that_is_set_up() {
        own_mounts();
        for arch in ["arm64", "arm", "arm/v7"] {
            ensure(arch).await.unwrap();
        }
        let error = ensure("mips").await.unwrap_err().to_string();
        assert!(error.contains("'mips'"), "{error}");
    }

    #[test]
    fn the_kernel_is_told_what_debian_tells_it() {
        let line = CPUS[2].registration(Path::new("/usr/bin/qemu-aarch64-static"));
        assert_eq!(
            line,
            r":walt-arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OPF"
        );
    }
}
