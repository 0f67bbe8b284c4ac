//! From the name in a TFTP request to the file it means.

use crate::files::{BadPath, normalised, place};
use crate::policy::FilePlace;

/// Maps a requested name, by these rules in this order:
///
/// 1. names containing `undionly` are files of the platform, as they are;
/// 2. the part matching `boot/rpi-.*\.uboot` becomes `start.uboot` (old SD cards);
/// 3. the part matching `boot/pc-x86-64.ipxe` becomes `start.ipxe` (old dongles);
/// 4. what results is under `nodes/<client IPv4>/tftp/`, except for the few files of the platform our
///    own DHCP answers name.
pub fn map_path(asked: &str) -> Result<FilePlace, BadPath> {
    if asked.contains("undionly") {
        return normalised(asked).map(FilePlace::Platform);
    }
    let name = old_sd_card(asked);
    let name = old_dongle(&name);
    normalised(&name).map(place)
}

/// Rule 2. `.*` is greedy: up to the last `.uboot`.
fn old_sd_card(name: &str) -> String {
    const START: &str = "boot/rpi-";
    const END: &str = ".uboot";
    if let Some(start) = name.find(START)
        && let Some(end) = name[start + START.len()..].rfind(END)
    {
        let after = &name[start + START.len() + end + END.len()..];
        return format!("{}start.uboot{after}", &name[..start]);
    }
    name.to_owned()
}

/// Rule 3. The dot of the pattern is any character.
fn old_dongle(name: &str) -> String {
    const START: &str = "boot/pc-x86-64";
    const END: &str = "ipxe";
    for (start, _) in name.match_indices(START) {
        let mut rest = name[start + START.len()..].chars();
        if rest.next().is_some()
            && let Some(after) = rest.as_str().strip_prefix(END)
        {
            return format!("{}start.ipxe{after}", &name[..start]);
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (asked, node_path) in [
            ("start.uboot", "start.uboot"),
            ("/start.ipxe", "start.ipxe"),
            ("boot/rpi-3-b.uboot", "start.uboot"),
            ("/boot/rpi-b-plus.uboot", "start.uboot"),
            ("boot/pc-x86-64.ipxe", "start.ipxe"),
            ("12345678/start4.elf", "12345678/start4.elf"),
            ("boot/rpi-3-b.txt", "boot/rpi-3-b.txt"),
            ("x/boot/rpi-a.uboot.uboot", "x/start.uboot"),
            ("boot/pc-x86-64.ipxe.sig", "start.ipxe.sig"),
        ] {
            assert_eq!(map_path(asked), Ok(FilePlace::Node(node_path.to_owned())), "{asked}");
        }
        for asked in ["pxe/walt-x86-undionly.kpxe", "/pxe/walt-x86-undionly.kpxe"] {
            let expected = FilePlace::Platform("pxe/walt-x86-undionly.kpxe".to_owned());
            assert_eq!(map_path(asked), Ok(expected));
        }
        for ours in ["walt.ipxe", "autoexec.ipxe", "pxe/autoexec.ipxe", "pxe/walt-arm64.efi"] {
            assert_eq!(map_path(ours), Ok(FilePlace::Platform(ours.to_owned())));
        }
        assert_eq!(
            map_path("other/autoexec.ipxe"),
            Ok(FilePlace::Node("other/autoexec.ipxe".to_owned()))
        );
    }

    #[test]
    fn no_way_out() {
        for asked in [
            "../../etc/shadow",
            "/../etc/shadow",
            "a/../../etc/shadow",
            "../../etc/undionly",
            "boot/rpi-/../../x.uboot/../../etc/shadow",
        ] {
            assert_eq!(map_path(asked), Err(BadPath::Escape), "{asked}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_mapped_or_refused(asked in "\\PC{0,80}", near in "(boot/|rpi-|pc-x86-64|.|ipxe|\\.uboot|é){0,8}") {
            let _ = map_path(&asked);
            let _ = map_path(&near);
        }
    }
}
