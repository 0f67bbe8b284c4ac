//! The files every image gets before it is served: boot scripts and the tools of a node.
//!
//! Their sources are the files below `walt-layer/`, at the paths they have in the image. The boot
//! scripts and services run with `/bin/busybox sh` of the image, because busybox is the one program every node
//! image must have; the logging tools with `/bin/sh`.

/// One file of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerFile {
    /// Absolute path in the image.
    pub path: &'static str,
    /// Permission bits; the owner is root.
    pub mode: u32,
    /// Whether `content` holds `%(key)s` placeholders to replace (and `%%` for a percent sign).
    pub templated: bool,
    /// The bytes of the file, before any replacement.
    pub content: &'static [u8],
}

/// A file below `walt-layer/`, at the same path in the image.
macro_rules! layer_file {
    ($path:literal, mode $mode:literal, templated $templated:literal) => {
        LayerFile {
            path: $path,
            mode: $mode,
            templated: $templated,
            content: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/walt-layer", $path)),
        }
    };
    (run $path:literal) => {
        layer_file!($path, mode 0o755, templated false)
    };
    (source $path:literal) => {
        layer_file!($path, mode 0o644, templated false)
    };
}

/// All files of the layer. Parent directories are `/bin` and `/bin/_walt_internal_` (mode 0755).
pub static FILES: &[LayerFile] = &[
    layer_file!("/bin/walt-env", mode 0o644, templated true),
    layer_file!(run "/bin/walt-init"),
    layer_file!(run "/bin/walt-log-echo"),
    layer_file!(run "/bin/walt-log-cat"),
    layer_file!(run "/bin/walt-log-tee"),
    layer_file!(run "/bin/walt-echo"),
    layer_file!(run "/bin/walt-cat"),
    layer_file!(run "/bin/walt-tee"),
    layer_file!(run "/bin/walt-report-lldp-neighbor"),
    layer_file!(run "/bin/_walt_internal_/walt-timeout"),
    layer_file!(run "/bin/_walt_internal_/walt-rpc"),
    layer_file!(source "/bin/_walt_internal_/walt-clock-sync"),
    layer_file!(run "/bin/_walt_internal_/walt-notify-bootup"),
    layer_file!(run "/bin/_walt_internal_/walt-fs-watchdog"),
    layer_file!(run "/bin/_walt_internal_/walt-net-service"),
    layer_file!(run "/bin/_walt_internal_/walt-net-service-handler"),
    layer_file!(source "/bin/_walt_internal_/walt-boot-modes"),
    layer_file!(source "/bin/_walt_internal_/walt-script-common"),
    layer_file!(run "/bin/_walt_internal_/walt-log-script"),
    layer_file!(source "/bin/_walt_internal_/walt-init-rootfs"),
    layer_file!(source "/bin/_walt_internal_/walt-init-rootfs-main"),
    layer_file!(run "/bin/_walt_internal_/walt-init-finalfs"),
    layer_file!(source "/bin/_walt_internal_/walt-init-nbd"),
    layer_file!(run "/bin/_walt_internal_/walt-tar-send"),
    layer_file!(run "/bin/_walt_internal_/walt-dump-diff-tar"),
];

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn paths_are_unique_and_below_bin() {
        let mut paths: Vec<_> = FILES.iter().map(|file| file.path).collect();
        assert!(paths.iter().all(|path| path.starts_with("/bin/")));
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), FILES.len());
    }

    #[test]
    fn scripts_say_which_shell_runs_them() {
        for file in FILES.iter().filter(|file| file.mode & 0o111 != 0) {
            let shells: [&[u8]; 2] = [b"#!/bin/busybox sh\n", b"#!/bin/sh\n"];
            assert!(shells.iter().any(|shell| file.content.starts_with(shell)), "{}", file.path);
        }
    }

    #[test]
    fn placeholders_stand_only_in_templated_files() {
        for file in FILES {
            let placeholders = file.content.windows(2).any(|bytes| bytes == b"%(");
            assert_eq!(placeholders, file.templated, "{}", file.path);
        }
    }
}
