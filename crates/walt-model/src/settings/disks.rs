//! Setting `disks`: `8G`, `20G[template=ext4],1T`.

use super::value::number;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Most disks of a node.
pub const MAX_DISKS: usize = 8;
/// Size of a disk, in bytes: above is more than the partition table of the templates can tell (2^32 sectors).
pub const DISK_BYTES: RangeInclusive<u64> = GIGA..=2000 * GIGA;

/// Sizes of disks are decimal.
const GIGA: u64 = 1_000_000_000;

/// What a new disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskTemplate {
    /// Nothing.
    #[default]
    None,
    /// One partition with an empty ext4 file system.
    Ext4,
    /// One partition with an empty FAT32 file system.
    Fat32,
    /// The image is copied there at the first boot; changes are forgotten at each boot.
    HybridBootV,
    /// The same, changes are kept.
    HybridBootP,
}

impl DiskTemplate {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::None, Self::Ext4, Self::Fat32, Self::HybridBootV, Self::HybridBootP];

    /// The word typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ext4 => "ext4",
            Self::Fat32 => "fat32",
            Self::HybridBootV => "hybrid-boot-v",
            Self::HybridBootP => "hybrid-boot-p",
        }
    }
}

/// A disk of a virtual node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it holds when it is new.
    pub template: DiskTemplate,
}

/// Reads a value of the setting.
///
/// # Errors
/// What is wrong, with an example.
pub fn disks(text: &str) -> Result<Vec<Disk>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let disks: Vec<Disk> = text.split(',').map(disk).collect::<Result<_, _>>()?;
    if disks.len() > MAX_DISKS {
        return Err(format!("a node has at most {MAX_DISKS} disks."));
    }
    Ok(disks)
}

fn disk(text: &str) -> Result<Disk, String> {
    const FORM: &str = "it is none, or a list of sizes in G or T with an optional template \
        (e.g. 8G or 20G[template=ext4],1T). See 'walt help show node-config' for more info.";
    let (size, template) = match text.split_once('[') {
        None => (text, DiskTemplate::None),
        Some((size, rest)) => {
            let word = rest.strip_suffix(']').and_then(|rest| rest.strip_prefix("template="));
            let word = word.ok_or(FORM)?;
            let known = DiskTemplate::ALL.into_iter().find(|template| template.as_str() == word);
            let words = DiskTemplate::ALL.map(DiskTemplate::as_str).join(", ");
            let template = known.ok_or_else(|| {
                format!("the template of a disk is one of {words}. See 'walt help show node-config' for more info.")
            })?;
            (size, template)
        }
    };
    let gigas = match size.strip_suffix('G') {
        Some(gigas) => number(gigas).map(u64::from),
        None => size.strip_suffix('T').and_then(number).map(|teras| u64::from(teras) * 1000),
    };
    let bytes = gigas.ok_or(FORM)? * GIGA;
    if !DISK_BYTES.contains(&bytes) {
        return Err("a disk has 1G to 2T.".into());
    }
    Ok(Disk { bytes, template })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(disks("none"), Ok(vec![]));
        assert_eq!(
            disks("8G[template=hybrid-boot-v],1T"),
            Ok(vec![
                Disk { bytes: 8_000_000_000, template: DiskTemplate::HybridBootV },
                Disk { bytes: 1_000_000_000_000, template: DiskTemplate::None },
            ])
        );
        for template in DiskTemplate::ALL {
            let word = template.as_str();
            assert_eq!(disks(&format!("1G[template={word}]")).unwrap()[0].template, template);
            assert_eq!(serde_json::to_value(template).unwrap(), word);
        }
    }

    #[test]
    fn not_lists() {
        for bad in [
            "",
            "8",
            "G",
            "8M",
            "0G",
            "3T",
            "8G,",
            ",8G",
            "none,8G",
            "8G[",
            "8G[]",
            "8G[ext4]",
            "8G[template=]",
            "8G[template=ntfs]",
            "8G[template=ext4]x",
            "-8G",
            "99999999999G",
            "1G,1G,1G,1G,1G,1G,1G,1G,1G",
            "8G[template=ext4,template=ext4]",
        ] {
            assert!(disks(bad).is_err(), "{bad}");
        }
    }
}
