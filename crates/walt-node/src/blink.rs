//! `walt-blink`: makes a light of the node blink, so that a person finds it among others.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::program;
use crate::report::Report;

/// Half a period.
const BEAT: Duration = Duration::from_millis(250);

/// A light nobody stops ends by itself.
const LONGEST: Duration = Duration::from_secs(3600);

/// The stream of this tool's messages.
const STREAM: &str = "walt-blink";

/// Argument of the process that blinks where the kernel cannot do it by itself.
const BEATING: &str = "--beating";

/// `walt-blink`.
pub fn blink(arguments: Vec<OsString>) -> Outcome {
    let lights = Lights { root: PathBuf::from("/") };
    let done = match arguments.as_slice() {
        [word] if word == "1" => lights.start(),
        [word] if word == "0" => lights.stop(),
        [word] if word == BEATING => return lights.beat().map(|()| 0).map_err(failure),
        _ => return Err(Failure::Usage(2)),
    };
    // The one who asked gets "non-zero error code" at most: the reason is in the node's log.
    if let (Err(why), Ok(server)) = (&done, std::env::var("walt_server_ip")) {
        if let Ok(server) = server.parse() {
            let mut report = Report::new(STREAM, server);
            report.line(why);
            report.send();
        }
    }
    done.map(|()| 0).map_err(Failure::plain)
}

fn failure(error: io::Error) -> Failure {
    Failure::plain(error.to_string())
}

/// The lights of a machine; `root` is `/` except in tests.
struct Lights {
    root: PathBuf,
}

/// Something that can be lit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Light {
    /// A folder in `/sys/class/leds`.
    Led(String),
    /// The three lights of the keyboards, through the console.
    Keyboard,
}

impl Light {
    /// How it is noted while it blinks.
    fn name(&self) -> &str {
        match self {
            Self::Led(name) => name,
            Self::Keyboard => "keyboard",
        }
    }
}

impl Lights {
    fn start(&self) -> Result<(), String> {
        if self.state().exists() {
            return Ok(());
        }
        let light = self.choose().ok_or(
            "this node has no light: nothing in /sys/class/leds, and no keyboard with lights on a console",
        )?;
        self.start_light(&light).map_err(|error| {
            let _ = fs::remove_file(self.state());
            format!("the light {} does not obey: {error}", light.name())
        })
    }

    fn start_light(&self, light: &Light) -> io::Result<()> {
        // Name, and what it did before: one per line.
        let mut note = format!("{}\n", light.name());
        if let Light::Led(name) = light {
            let folder = self.led(name);
            let triggers = self.triggers(&folder);
            let brightness = fs::read_to_string(folder.join("brightness"))?;
            note += &format!("{}\n{}\n", chosen(&triggers), brightness.trim());
            self.note(&note)?;
            for trigger in ["timer", "heartbeat"] {
                if offers(&triggers, trigger) {
                    return self.hand_over(&folder, trigger);
                }
            }
            if !triggers.is_empty() {
                write(&folder.join("trigger"), "none")?;
            }
        } else {
            self.note(&note)?;
        }
        // The kernel cannot: a process does, until the note is gone.
        Command::new(std::env::current_exe()?)
            .args(["walt-blink", BEATING])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(drop)
    }

    /// What a LED can show; the kernel may have to load what makes it blink.
    fn triggers(&self, folder: &Path) -> String {
        let read = || fs::read_to_string(folder.join("trigger")).unwrap_or_default();
        let triggers = read();
        match program::find("modprobe") {
            Some(modprobe) if !triggers.is_empty() && !offers(&triggers, "timer") => {
                let _ = program::run(&modprobe, &["ledtrig-timer".into()], Duration::from_secs(5));
                read()
            }
            _ => triggers,
        }
    }

    /// The kernel blinks by itself.
    fn hand_over(&self, folder: &Path, trigger: &str) -> io::Result<()> {
        write(&folder.join("trigger"), trigger)?;
        if trigger == "timer" {
            for file in ["delay_on", "delay_off"] {
                write(&folder.join(file), &BEAT.as_millis().to_string())?;
            }
        }
        Ok(())
    }

    fn stop(&self) -> Result<(), String> {
        let Ok(note) = fs::read_to_string(self.state()) else {
            return match self.choose() {
                Some(_) => Ok(()),
                None => Err("this node has no light".to_owned()),
            };
        };
        // Without the note, a process that blinks ends.
        fs::remove_file(self.state()).map_err(|error| error.to_string())?;
        let mut lines = note.lines();
        let name = lines.next().unwrap_or_default();
        if name == Light::Keyboard.name() {
            return Ok(());
        }
        std::thread::sleep(BEAT);
        let (trigger, brightness) = (lines.next().unwrap_or("none"), lines.next().unwrap_or("0"));
        let folder = self.led(name);
        let restored = if folder.join("trigger").exists() {
            write(&folder.join("trigger"), trigger)
        } else {
            Ok(())
        };
        let restored = restored.and_then(|()| match trigger {
            "none" => write(&folder.join("brightness"), brightness),
            _ => Ok(()),
        });
        restored.map_err(|error| format!("the light {name} is not as it was: {error}"))
    }

    /// The light a person sees best: that of the board before those of its parts, and these before keyboards.
    fn choose(&self) -> Option<Light> {
        let entries = fs::read_dir(self.root.join("sys/class/leds")).ok();
        let mut leds: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.led(name).join("brightness").exists())
            .collect();
        leds.sort_by_key(|name| (rank(name), name.clone()));
        leds.into_iter()
            .next()
            .map(Light::Led)
            .or_else(|| self.has_keyboard().then_some(Light::Keyboard))
    }

    /// Is there a keyboard with lights, and a console to reach them through?
    fn has_keyboard(&self) -> bool {
        let inputs = fs::read_dir(self.root.join("sys/class/input")).ok();
        let has_lights = inputs.into_iter().flatten().flatten().any(|input| {
            let lights =
                fs::read_to_string(input.path().join("capabilities/led")).unwrap_or_default();
            lights.trim().chars().any(|c| c != '0' && c != ' ')
        });
        has_lights && self.root.join("dev/tty0").exists()
    }

    /// Blinks until the note is gone.
    fn beat(&self) -> io::Result<()> {
        let note = fs::read_to_string(self.state())?;
        let name = note.lines().next().unwrap_or_default();
        let console = match name == Light::Keyboard.name() {
            true => Some(OpenOptions::new().write(true).open(self.root.join("dev/tty0"))?),
            false => None,
        };
        let end = Instant::now() + LONGEST;
        let mut lit = false;
        while self.state().exists() && Instant::now() < end {
            lit = !lit;
            match &console {
                Some(console) => keyboard_lights(console, if lit { 7 } else { 0 })?,
                None => {
                    let brightness = self.led(name).join("brightness");
                    write(&brightness, if lit { "1" } else { "0" })?;
                }
            }
            std::thread::sleep(BEAT);
        }
        // Above 7: the lights show the state of the keys again.
        console.map_or(Ok(()), |console| keyboard_lights(&console, 0xff))
    }

    fn led(&self, name: &str) -> PathBuf {
        self.root.join("sys/class/leds").join(name)
    }

    /// Which light blinks now, and what it did before.
    fn state(&self) -> PathBuf {
        self.root.join("run/walt-blink")
    }

    fn note(&self, note: &str) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.state())?;
        file.write_all(note.as_bytes())
    }
}

/// Smaller is better.
fn rank(name: &str) -> u8 {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if has(&["capslock", "numlock", "scrolllock", "compose", "kana"]) => 3,
        () if name == "act" || has(&["led0", ":act", "user", "status", "identify"]) => 0,
        () if has(&["pwr", "power", "led", "sys"]) => 1,
        () => 2,
    }
}

fn offers(triggers: &str, wanted: &str) -> bool {
    triggers.split_ascii_whitespace().any(|known| known.trim_matches(['[', ']']) == wanted)
}

/// `none [mmc0] timer` -> `mmc0`.
fn chosen(triggers: &str) -> &str {
    let inside = triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("none", |(name, _)| name)
}

/// Writes a file of the kernel, which is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

/// `KDSETLED` of `console_ioctl(2)`.
fn keyboard_lights(console: &File, lights: u8) -> io::Result<()> {
    const KDSETLED: nix::libc::Ioctl = 0x4b32;
    // SAFETY: this request takes its argument by value.
    let done = unsafe {
        nix::libc::ioctl(console.as_raw_fd(), KDSETLED, nix::libc::c_ulong::from(lights))
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir, Lights);

    impl Machine {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().to_owned();
            let machine = Self(folder, Lights { root });
            machine.write("run/.keep", "");
            for (at, text) in files {
                machine.write(at, text);
            }
            machine
        }

        fn write(&self, at: &str, text: &str) {
            let path = self.0.path().join(at);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self, at: &str) -> String {
            fs::read_to_string(self.0.path().join(at)).unwrap()
        }
    }

    #[test]
    fn the_kernel_blinks_and_all_is_as_before_after_it() {
        let machine = Machine::new(&[
            ("sys/class/leds/mmc0::/brightness", "0"),
            ("sys/class/leds/ACT/brightness", "255\n"),
            ("sys/class/leds/ACT/trigger", "none timer [mmc0] heartbeat\n"),
            ("sys/class/leds/ACT/delay_on", "500"),
            ("sys/class/leds/ACT/delay_off", "500"),
            ("sys/class/leds/input0::capslock/brightness", "0"),
        ]);
        assert_eq!(machine.1.choose(), Some(Light::Led("ACT".to_owned())));
        machine.1.stop().unwrap();
        machine.1.start().unwrap();
        assert_eq!(machine.read("sys/class/leds/ACT/trigger"), "timer");
        assert_eq!(machine.read("sys/class/leds/ACT/delay_on"), "250");
        // Again: what was before is not forgotten.
        machine.1.start().unwrap();
        assert_eq!(machine.read("run/walt-blink"), "ACT\nmmc0\n255\n");
        machine.1.stop().unwrap();
        assert_eq!(machine.read("sys/class/leds/ACT/trigger"), "mmc0");
        assert!(!machine.0.path().join("run/walt-blink").exists());
    }

    #[test]
    fn a_light_without_triggers() {
        let machine = Machine::new(&[
            ("sys/class/leds/x/brightness", "7"),
            ("run/walt-blink", "x\nnone\n7\n"),
        ]);
        std::thread::scope(|scope| {
            let beating = scope.spawn(|| machine.1.beat());
            while machine.read("sys/class/leds/x/brightness") != "1" {
                std::thread::sleep(Duration::from_millis(5));
            }
            fs::remove_file(machine.0.path().join("run/walt-blink")).unwrap();
            beating.join().unwrap().unwrap();
        });
        machine.write("run/walt-blink", "x\nnone\n7\n");
        machine.1.stop().unwrap();
        assert_eq!(machine.read("sys/class/leds/x/brightness"), "7");
    }

    #[test]
    fn the_best_light() {
        let mut names =
            ["input2::scrolllock", "mmc0::", "PWR", "ACT", "beaglebone:green:usr0", "led0"];
        names.sort_by_key(|name| (rank(name), *name));
        assert_eq!(
            names,
            ["ACT", "led0", "PWR", "beaglebone:green:usr0", "mmc0::", "input2::scrolllock"]
        );
    }

    #[test]
    fn keyboards_and_nothing() {
        let nothing =
            Machine::new(&[("sys/class/input/input0/capabilities/led", "0\n"), ("dev/tty0", "")]);
        assert!(nothing.1.start().unwrap_err().contains("no light"));
        assert!(nothing.1.stop().unwrap_err().contains("no light"));
        let keyboard =
            Machine::new(&[("sys/class/input/input0/capabilities/led", "7\n"), ("dev/tty0", "")]);
        assert_eq!(keyboard.1.choose(), Some(Light::Keyboard));
    }
}
