//! `cargo xtask bench images`: what each verb on images costs, next to the commands of podman, buildah and skopeo that
//! do the same on the same storage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{answer, pause, repository};
use crate::platform::Platform;

/// The registry the images are published to.
const REGISTRY: &str = "127.0.0.1:5000";
/// The user of the images.
const OWNER: &str = "root";
/// Where the image of the other user is.
const LARGE: &str = "docker.io/someone/large:latest";

/// Tells the server of the registry: before it starts.
pub fn configure(platform: &Platform) -> Result<()> {
    let path = platform.configuration();
    let registries = format!(
        "registries:\n- {{label: bench, api: docker-registry-v2, description: Bench, host: 127.0.0.1, port: {}, \
         protocol: http, auth: none}}\n",
        REGISTRY.rsplit(':').next().unwrap_or_default()
    );
    let text = fs::read_to_string(&path)? + &registries;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Measures and prints. The server runs, with the registry in its configuration; the default image is in its storage.
pub fn run(platform: &Platform) -> Result<()> {
    let bench = Bench { platform, folder: platform.place.run.join("bench-images") };
    fs::create_dir_all(&bench.folder)?;
    let _registry = bench.registry()?;
    bench.large()?;
    println!("\nimages: 1 GB in one layer ('large'), and the default image");
    println!("{:<42} {:>9} {:>9}  {:<44} {:>6}", "walt", "ms", "ms", "the same by hand", "ratio");
    bench.names()?;
    bench.contents()?;
    bench.registries()
}

/// Kills the registry at the end.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Bench<'a> {
    platform: &'a Platform,
    /// Where its files are.
    folder: PathBuf,
}

impl Bench<'_> {
    fn registry(&self) -> Result<Registry> {
        let conf = self.folder.join("registry.yml");
        let root = self.folder.join("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {REGISTRY}\n",
            root.display()
        );
        fs::write(&conf, text)?;
        let mut serve = self.platform.inside("docker-registry");
        serve.arg("serve").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Registry(serve.spawn().context("cannot start docker-registry")?);
        let url = format!("http://{REGISTRY}/v2/");
        let mut wait = self.platform.inside("curl");
        wait.args(["-sf", "--retry", "50", "--retry-delay", "1", "--retry-all-errors", &url]);
        answer(&mut wait)?;
        Ok(registry)
    }

    /// The image of 1 GB, of another user.
    fn large(&self) -> Result<()> {
        let files = self.folder.join("large");
        fs::create_dir_all(&files)?;
        let file = files.join("file");
        // Zeros would cost nothing to compress.
        answer(Command::new("openssl").args(["rand", "-out"]).arg(&file).arg("1000000000"))?;
        let dockerfile = self.folder.join("Large");
        fs::write(&dockerfile, "FROM scratch\nLABEL walt.node.models=pc-x86-64\nCOPY file /\n")?;
        answer(
            self.storage("buildah", &["bud", "--quiet", "-t", LARGE, "-f"])
                .arg(&dockerfile)
                .arg(&files),
        )?;
        fs::remove_file(&file)?;
        answer(&mut self.walt(&["image", "show", "--refresh"]))?;
        Ok(())
    }

    fn names(&self) -> Result<()> {
        let hand = "localhost/bench/by-hand:1";
        self.row(
            "image clone walt:someone/large",
            |bench| bench.walted(&["image", "clone", "walt:someone/large"]),
            "podman tag",
            |bench| bench.by_hand(&["tag", LARGE, hand]),
        )?;
        self.row(
            "image duplicate large copy",
            |bench| bench.walted(&["image", "duplicate", "large", "copy"]),
            "podman tag",
            |bench| bench.by_hand(&["tag", LARGE, "localhost/bench/second:1"]),
        )?;
        self.row(
            "image rename copy other",
            |bench| bench.walted(&["image", "rename", "copy", "other"]),
            "podman tag, podman untag",
            |bench| {
                bench.by_hand(&["tag", "localhost/bench/second:1", "localhost/bench/third:1"])?;
                bench.by_hand(&["untag", "localhost/bench/second:1", "localhost/bench/second:1"])
            },
        )?;
        self.row(
            "image show",
            |bench| bench.walted(&["image", "show"]),
            "podman images",
            |bench| bench.by_hand(&["images"]),
        )?;
        self.row(
            "image remove other",
            |bench| bench.walted(&["image", "remove", "other"]),
            "podman rmi (another name stays)",
            |bench| bench.by_hand(&["rmi", "localhost/bench/third:1"]),
        )
    }

    fn contents(&self) -> Result<()> {
        let base = "docker.io/waltplatform/pc-x86-64-default:latest";
        self.walted(&["image", "clone", "walt:waltplatform/pc-x86-64-default"])?;
        self.walted(&["image", "rename", "pc-x86-64-default", "work"])?;
        let file = self.folder.join("file");
        fs::write(&file, "x")?;
        let path = |name: &Path| name.display().to_string();
        self.row(
            "image cp FILE work:/root/",
            |bench| bench.walted(&["image", "cp", &path(&file), "work:/root/file"]),
            "buildah from, copy, commit, rm",
            |bench| {
                let from = bench.storage("buildah", &["from", base]).output()?;
                let container = String::from_utf8_lossy(&from.stdout).trim().to_owned();
                answer(&mut bench.storage(
                    "buildah",
                    &["copy", "--quiet", &container, &path(&file), "/root/file"],
                ))?;
                answer(&mut bench.storage(
                    "buildah",
                    &["commit", "--quiet", &container, "localhost/bench/cp:1"],
                ))?;
                answer(&mut bench.storage("buildah", &["rm", &container])).map(drop)
            },
        )?;
        let folder = self.folder.join("build");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("Dockerfile"), format!("FROM {base}\nRUN echo x >/root/x\n"))?;
        self.row(
            "image build DIR built (one RUN)",
            |bench| bench.walted(&["image", "build", "built", "--from-dir", &path(&folder)]),
            "podman build",
            |bench| {
                bench.by_hand(&[
                    "build",
                    "-q",
                    "--network=host",
                    "-t",
                    "localhost/bench/b:1",
                    &path(&folder),
                ])
            },
        )?;
        self.row(
            "image shell work (one command, saved)",
            |bench| {
                let mut shell = Command::new(repository().join("checks/image-shell/shell.exp"));
                shell.args(["new", "work"]).env("TYPE", "touch /root/y").env("NAME", "shelled");
                shell.envs(bench.platform.environment());
                answer(&mut shell).map(drop)
            },
            "podman run, commit, rm",
            |bench| {
                let run =
                    ["run", "--network=host", "--name", "bench-shell", base, "touch", "/root/y"];
                bench.by_hand(&run)?;
                bench.by_hand(&["commit", "-q", "bench-shell", "localhost/bench/s:1"])?;
                bench.by_hand(&["rm", "bench-shell"])
            },
        )?;
        fs::write(folder.join("Dockerfile"), "FROM localhost/bench/b:1\n")?;
        self.row(
            "image squash built",
            |bench| bench.walted(&["image", "squash", "built"]),
            "podman build --squash-all",
            |bench| {
                bench.by_hand(&[
                    "build",
                    "-q",
                    "--squash-all",
                    "-t",
                    "localhost/bench/q:1",
                    &path(&folder),
                ])
            },
        )?;
        let mounted = "a=$(podman $S image mount localhost/bench/b:1) b=$(podman $S image mount localhost/bench/cp:1); \
                       diff -rq --no-dereference $a $b | wc -l; podman $S image unmount --all";
        self.row(
            "image diff work built",
            |bench| bench.walted(&["image", "diff", "work", "built"]),
            "podman image mount, diff -rq",
            |bench| {
                let mut shell = Command::new("sh");
                shell.args(["-c", mounted]).env("S", bench.places().join(" "));
                answer(&mut shell).map(drop)
            },
        )
    }

    fn registries(&self) -> Result<()> {
        let places = self.places();
        let stored = format!("containers-storage:[overlay@{}+{}]", places[1], places[3]);
        let theirs = format!("docker://{REGISTRY}/someone/by-skopeo:latest");
        let skopeo = |words: &[&str]| {
            let mut command = self.platform.inside("skopeo");
            command.args(["copy", "--quiet"]).args(words);
            answer(&mut command).map(drop)
        };
        self.row(
            "image publish large (1 GB)",
            |bench| bench.walted(&["image", "publish", "large", "--registry", "bench"]),
            "skopeo copy",
            |_| skopeo(&["--dest-tls-verify=false", &format!("{stored}{LARGE}"), &theirs]),
        )?;
        self.walted(&["image", "remove", "large"])?;
        self.by_hand(&["rmi", "--force", LARGE, "localhost/bench/by-hand:1"])?;
        self.walted(&["image", "show", "--refresh"])?;
        self.row(
            "image clone bench:.../large (1 GB)",
            |bench| bench.walted(&["image", "clone", &format!("bench:{OWNER}/large")]),
            "skopeo copy",
            |bench| {
                // Its layer must come again.
                bench.walted(&["image", "remove", "large"])?;
                let hand = format!("{stored}localhost/bench/by-skopeo:1");
                skopeo(&["--src-tls-verify=false", &theirs, &hand])
            },
        )
    }

    /// Runs both, prints one line.
    fn row(
        &self,
        ours: &str,
        walt: impl FnOnce(&Self) -> Result<()>,
        theirs: &str,
        hand: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let mut times = [Duration::ZERO; 2];
        let started = Instant::now();
        walt(self).with_context(|| format!("walt {ours}"))?;
        times[0] = started.elapsed();
        pause(Duration::from_millis(500))?;
        let started = Instant::now();
        hand(self).with_context(|| theirs.to_owned())?;
        times[1] = started.elapsed();
        let [ours_ms, theirs_ms] = times.map(|time| time.as_secs_f64() * 1e3);
        println!(
            "{ours:<42} {ours_ms:>9.0} {theirs_ms:>9.0}  {theirs:<44} {:>6.2}",
            ours_ms / theirs_ms
        );
        Ok(())
    }

    fn places(&self) -> [String; 4] {
        let (root, runroot) = self.platform.place.storage();
        [
            "--root".into(),
            root.display().to_string(),
            "--runroot".into(),
            runroot.display().to_string(),
        ]
    }

    fn storage(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(self.places()).args(words);
        command
    }

    fn by_hand(&self, words: &[&str]) -> Result<()> {
        answer(&mut self.storage("podman", words)).map(drop)
    }

    fn walt(&self, words: &[&str]) -> Command {
        self.platform.walt(words)
    }

    fn walted(&self, words: &[&str]) -> Result<()> {
        answer(&mut self.walt(words)).map(drop)
    }
}
