//! Names of boot files, by TFTP and by HTTP: none leads out of its folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_netboot::policy::FilePlace;
use walt_netboot::{http, tftp};

fn stays_inside(place: &FilePlace) {
    let (FilePlace::Platform(path) | FilePlace::Node(path)) = place;
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
    assert!(!path.split('/').any(bad), "{path:?}");
}

fuzz_target!(|text: &str| {
    for place in [tftp::map_path(text), http::fuzz(text)].into_iter().flatten() {
        stays_inside(&place);
    }
});
