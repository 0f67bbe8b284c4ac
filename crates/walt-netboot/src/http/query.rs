//! What a request for a boot file says: path, node, range. Pure.

use percent_encoding::percent_decode_str;

use crate::files::{BadPath, normalised, place};
use crate::policy::FilePlace;

/// The decoded value of parameter `name` in a query string; the first one when it is repeated.
pub fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// The file meant by what follows `/boot/` in a URL (still %-encoded), and its decoded text.
pub(crate) fn boot_path(encoded: &str) -> (String, Result<FilePlace, BadPath>) {
    let Ok(decoded) = percent_decode_str(encoded).decode_utf8() else {
        return (encoded.to_owned(), Err(BadPath::NoName));
    };
    let mapped = normalised(&decoded).map(place);
    (decoded.into_owned(), mapped)
}

/// What part of a file is asked for (RFC 9110 section 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no range, or one this server may ignore (several ranges, another unit).
    Whole,
    /// These bytes, first and last.
    Bytes(u64, u64),
    /// Bytes the file does not have.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes.
pub(crate) fn part(range: Option<&str>, size: u64) -> Part {
    let parsed = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|range| range.trim().split_once('-'));
    let Some((first, last)) = parsed else {
        return Part::Whole;
    };
    let number = |text: &str| -> Option<u64> {
        // Digits only: `parse` would also take a sign.
        (!text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()))
            .then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => from_to(first, u64::MAX, size),
        (Some(first), Some(last)) if first <= last => from_to(first, last, size),
        (None, Some(0)) if first.is_empty() => Part::Unsatisfiable,
        (None, Some(length)) if first.is_empty() => {
            from_to(size.saturating_sub(length), u64::MAX, size)
        }
        _ => Part::Whole,
    }
}

fn from_to(first: u64, last: u64, size: u64) -> Part {
    if first >= size { Part::Unsatisfiable } else { Part::Bytes(first, last.min(size - 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-9", Part::Bytes(0, 9)),
            ("bytes=90-", Part::Bytes(90, 99)),
            ("bytes=90-1000", Part::Bytes(90, 99)),
            ("bytes=-10", Part::Bytes(90, 99)),
            ("bytes=-1000", Part::Bytes(0, 99)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=9-0", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=-", Part::Whole),
        ] {
            assert_eq!(part(Some(range), 100), expected, "{range}");
        }
        assert_eq!(part(None, 100), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
    }

    #[test]
    fn paths() {
        let (asked, place) =
            boot_path("QEMU/Standard%20PC%20(i440FX%20+%20PIIX,%201996)/boot-params.ipxe");
        assert_eq!(asked, "QEMU/Standard PC (i440FX + PIIX, 1996)/boot-params.ipxe");
        assert_eq!(place, Ok(FilePlace::Node(asked)));
        assert_eq!(boot_path("a/%2e%2e/%2E./etc/shadow").1, Err(BadPath::Escape));
        assert_eq!(boot_path("%ff%fe").1, Err(BadPath::NoName));
        assert_eq!(boot_path("a%00b").1, Err(BadPath::NoName));
        assert_eq!(boot_path("walt.ipxe").1, Ok(FilePlace::Platform("walt.ipxe".to_owned())));
    }

    #[test]
    fn parameters() {
        let query = Some("x=1&node_ip=192.168.1.2&node_ip=no&empty&e=%20");
        assert_eq!(query_value(query, "node_ip").as_deref(), Some("192.168.1.2"));
        assert_eq!(query_value(query, "empty").as_deref(), Some(""));
        assert_eq!(query_value(query, "e").as_deref(), Some(" "));
        assert_eq!(query_value(query, "none"), None);
        assert_eq!(query_value(None, "none"), None);
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in "\\PC{0,40}", range in "bytes=[0-9,+-]{0,30}", size in any::<u64>()) {
            let _ = boot_path(&text);
            let _ = query_value(Some(&text), "node_ip");
            if let Part::Bytes(first, last) = part(Some(&range), size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
