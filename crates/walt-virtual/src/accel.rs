//! Whether KVM really works on this host.
//!
//! `/dev/kvm` may open and still be unable to run an ordinary guest (nested virtualisation done
//! half): 16-bit code runs, then SeaBIOS hands over to iPXE, and 32-bit code hangs; or QEMU stops at a
//! model-specific register of the processor. So the trial is what every BIOS node does first:
//! SeaBIOS, then iPXE up to the start of its drivers; and where UEFI firmware is installed, that too,
//! which runs 64-bit code with paging. With working KVM both take about a second.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

use crate::qemu::{PROGRAM, Uefi};

/// Variable that decides without a trial: `kvm` or `tcg`.
pub const OVERRIDE: &str = "WALT_ACCEL";
/// How long the trial guests may take.
const DEADLINE: Duration = Duration::from_millis(4500);

/// How a guest's processor is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's emulation: works everywhere, 10 to 30 times slower.
    Tcg,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccelChoice {
    /// The choice.
    pub accel: Accel,
    /// Why, worded for a person.
    pub reason: String,
}

/// Finds out, by running small guests for less than 5 s. The answer is kept for the life of the
/// process. `WALT_ACCEL=kvm|tcg` decides without a trial.
pub async fn probe() -> AccelChoice {
    static ANSWER: OnceCell<AccelChoice> = OnceCell::const_new();
    ANSWER
        .get_or_init(|| async {
            let choice = match std::env::var(OVERRIDE).as_deref() {
                Ok("kvm") => AccelChoice { accel: Accel::Kvm, reason: format!("{OVERRIDE}=kvm") },
                Ok("tcg") => AccelChoice { accel: Accel::Tcg, reason: format!("{OVERRIDE}=tcg") },
                _ => decide().await,
            };
            tracing::info!(accel = ?choice.accel, reason = choice.reason, "how virtual nodes are run");
            choice
        })
        .await
        .clone()
}

async fn decide() -> AccelChoice {
    match trial().await {
        Ok(reason) => AccelChoice { accel: Accel::Kvm, reason },
        Err(reason) => AccelChoice { accel: Accel::Tcg, reason },
    }
}

async fn trial() -> Result<String, String> {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        return Err(format!("/dev/kvm cannot be used: {error}"));
    }
    let before = Instant::now();
    let uefi = Uefi::find();
    let second = async {
        match &uefi {
            Some(uefi) => run_until("UEFI firmware", uefi_guest("kvm", uefi), b"BdsDxe").await,
            None => Ok(()),
        }
    };
    let first = run_until("iPXE", bios_guest("kvm"), b"initialising devices");
    tokio::try_join!(first, second)?;
    Ok(format!("a trial guest started in {:.1} s", before.elapsed().as_secs_f32()))
}

fn common(accel: &str) -> Vec<String> {
    let args =
        ["-accel", accel, "-cpu", "max", "-m", "128M", "-display", "none", "-serial", "stdio"];
    let args =
        args.iter().chain(&["-nodefaults", "-no-user-config", "-netdev", "hubport,id=n,hubid=0"]);
    args.map(|arg| (*arg).to_owned()).collect()
}

fn bios_guest(accel: &str) -> Vec<String> {
    let mut args = common(accel);
    args.extend(
        ["-machine", "q35,graphics=off", "-device", "virtio-net-pci,netdev=n", "-boot", "n"]
            .map(str::to_owned),
    );
    args
}

fn uefi_guest(accel: &str, uefi: &Uefi) -> Vec<String> {
    let mut args = common(accel);
    let drive = |unit: u8, file: &std::path::Path| {
        let file = file.to_string_lossy().replace(',', ",,");
        // A snapshot: the blank variables are not written to.
        format!(
            "if=pflash,unit={unit},format=raw,snapshot={},readonly={},file={file}",
            if unit == 1 { "on" } else { "off" },
            if unit == 0 { "on" } else { "off" }
        )
    };
    args.extend(
        ["-machine", "q35", "-device", "virtio-net-pci,netdev=n,romfile="].map(str::to_owned),
    );
    args.extend([
        "-drive".to_owned(),
        drive(0, &uefi.code),
        "-drive".to_owned(),
        drive(1, &uefi.vars),
    ]);
    args
}

/// Runs a guest until it prints these bytes on its serial port.
async fn run_until(what: &str, args: Vec<String>, marker: &[u8]) -> Result<(), String> {
    let mut child = tokio::process::Command::new(PROGRAM)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{PROGRAM} cannot be started: {error}"))?;
    let mut output = Vec::new();
    let mut errors = String::new();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let watch = async {
        let mut stdout = stdout?;
        let mut chunk = [0; 4096];
        loop {
            match stdout.read(&mut chunk).await {
                Ok(count) if count > 0 => output.extend_from_slice(&chunk[..count]),
                _ => return None,
            }
            if output.windows(marker.len()).any(|window| window == marker) {
                return Some(());
            }
        }
    };
    let found = tokio::time::timeout(DEADLINE, watch).await;
    let _ = child.kill().await;
    if let (Some(stderr), Ok(None) | Err(_)) = (stderr, &found) {
        let _ = stderr.take(2000).read_to_string(&mut errors).await;
    }
    let errors = errors.lines().next().map(|line| format!(" ({line})")).unwrap_or_default();
    match found {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(format!("with KVM, QEMU stops before {what} has started{errors}")),
        Err(_) => {
            Err(format!("with KVM, {what} does not start in {} s{errors}", DEADLINE.as_secs_f32()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn installed() -> bool {
        std::path::Path::new("/usr/bin").join(PROGRAM).exists()
    }

    #[tokio::test]
    async fn the_trial_guests_start_where_the_processor_works() {
        if !installed() {
            eprintln!("skipped: {PROGRAM} is not installed");
            return;
        }
        let before = Instant::now();
        run_until("iPXE", bios_guest("tcg"), b"initialising devices").await.unwrap();
        println!("iPXE with tcg: {:?}", before.elapsed());
    }

    #[tokio::test]
    async fn the_decision_is_quick() {
        let before = Instant::now();
        let choice = decide().await;
        println!("{choice:?} in {:?}", before.elapsed());
        assert!(before.elapsed() < Duration::from_secs(8));
    }
}
