//! Processors: what node models need, what indexes of several images offer.

use std::fmt;

/// A processor architecture, in the words of OCI images (`amd64`, `arm/v7`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
    /// `amd64`, `386`, `arm`, `arm64`...
    pub name: String,
    /// `v6`, `v7`... of `arm`; `None` when the image does not say.
    pub variant: Option<String>,
}

impl Architecture {
    /// From the two words of a manifest.
    pub fn new(name: impl Into<String>, variant: Option<&str>) -> Self {
        let variant = variant.filter(|text| !text.is_empty()).map(str::to_owned);
        Self { name: name.into(), variant }
    }

    /// Whether an image for `other` runs where this one is wanted: same name, and same variant when both say one.
    fn accepts(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.variant, &other.variant) {
                (Some(wanted), Some(offered)) => wanted == offered,
                // `arm` alone means v7 in Docker's images: not for those that want v6.
                (Some(wanted), None) => self.name != "arm" || wanted == "v7",
                (None, _) => true,
            }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "{}/{variant}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The architectures one would take, the best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Vec<Architecture>);

/// Name and variant of an architecture.
type Named = (&'static str, Option<&'static str>);

/// Start of a node model's name -> architectures its processor runs, the best first. The first line that matches counts.
const MODELS: &[(&str, &[Named])] = &[
    ("pc-x86-64", &[("amd64", None), ("386", None)]),
    ("pc-x86-32", &[("386", None)]),
    ("pc-arm64", &[("arm64", None)]),
    ("rpi-b", &[("arm", Some("v6")), ("arm", Some("v5"))]),
    ("rpi-zero-2", &[("arm", Some("v7")), ("arm64", None), ("arm", Some("v6"))]),
    ("rpi-zero", &[("arm", Some("v6")), ("arm", Some("v5"))]),
    ("rpi-2-b", &[("arm", Some("v7")), ("arm", Some("v6"))]),
    ("rpi-3", &[("arm", Some("v7")), ("arm64", None), ("arm", Some("v6"))]),
    ("rpi-4", &[("arm64", None), ("arm", Some("v7")), ("arm", Some("v6"))]),
    ("rpi-400", &[("arm64", None), ("arm", Some("v7")), ("arm", Some("v6"))]),
    ("rpi-5", &[("arm64", None)]),
    ("rpi-", &[("arm64", None), ("arm", Some("v7")), ("arm", Some("v6"))]),
    ("qemu-arm64", &[("arm64", None)]),
    ("qemu-arm", &[("arm", Some("v7")), ("arm", Some("v6"))]),
];

impl Wanted {
    /// What nodes of these models boot: architectures that all of them run, or else those of the first model.
    /// A model nobody knows counts as the server's own processor.
    pub fn for_models<M: AsRef<str>>(models: impl IntoIterator<Item = M>) -> Self {
        let mut lists = models.into_iter().map(|model| Self::of_model(model.as_ref()));
        let Some(first) = lists.next() else { return Self::host() };
        let mut common = first.0.clone();
        for list in lists {
            common.retain(|architecture| list.0.contains(architecture));
        }
        if common.is_empty() { first } else { Self(common) }
    }

    fn of_model(model: &str) -> Self {
        // `rpi-b` and `rpi-b-plus`, not `rpi-bzh`.
        let fits = |start: &str| {
            model.strip_prefix(start).is_some_and(|rest| {
                start.ends_with('-') || rest.is_empty() || rest.starts_with(['-', '+'])
            })
        };
        match MODELS.iter().find(|(start, _)| fits(start)) {
            Some((_, list)) => Self(
                list.iter().map(|(name, variant)| Architecture::new(*name, *variant)).collect(),
            ),
            None => Self::host(),
        }
    }

    /// What this machine runs.
    pub fn host() -> Self {
        Self(match std::env::consts::ARCH {
            "x86_64" => vec![Architecture::new("amd64", None)],
            "x86" => vec![Architecture::new("386", None)],
            "aarch64" => vec![Architecture::new("arm64", None)],
            "arm" => vec![Architecture::new("arm", Some("v7"))],
            other => vec![Architecture::new(other, None)],
        })
    }

    /// Whatever there is: the first one offered.
    pub fn any() -> Self {
        Self(Vec::new())
    }

    /// Exactly this one.
    pub fn exactly(architecture: Architecture) -> Self {
        Self(vec![architecture])
    }

    /// The candidates, the best first.
    pub fn candidates(&self) -> &[Architecture] {
        &self.0
    }

    /// The best of what is offered: its place in the list.
    pub(super) fn choose(&self, offered: &[Architecture]) -> Option<usize> {
        if self.0.is_empty() {
            return (!offered.is_empty()).then_some(0);
        }
        self.0.iter().find_map(|wanted| {
            let exact = offered.iter().position(|other| other == wanted);
            exact.or_else(|| offered.iter().position(|other| wanted.accepts(other)))
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(Architecture::to_string).collect();
        f.write_str(&words.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn models() {
        let wanted = |model: &str| Wanted::for_models([model]).to_string();
        assert_eq!(wanted("pc-x86-64"), "amd64 or 386");
        assert_eq!(wanted("pc-x86-32"), "386");
        assert_eq!(wanted("rpi-b-plus"), "arm/v6 or arm/v5");
        assert_eq!(wanted("rpi-3-b-plus"), "arm/v7 or arm64 or arm/v6");
        assert_eq!(wanted("rpi-400"), "arm64 or arm/v7 or arm/v6");
        assert_eq!(wanted("rpi-5-b"), "arm64");
        assert_eq!(Wanted::for_models(["toaster"]), Wanted::host());
        assert_eq!(Wanted::for_models(["rpi-3-b", "rpi-2-b"]).to_string(), "arm/v7 or arm/v6");
        assert_eq!(Wanted::for_models(["pc-x86-32", "rpi-5"]).to_string(), "386");
    }

    #[test]
    fn choices() {
        let offered = [
            Architecture::new("arm", Some("v5")),
            Architecture::new("arm64", Some("v8")),
            Architecture::new("arm", Some("v7")),
            Architecture::new("arm", None),
        ];
        let choose = |model: &str| Wanted::for_models([model]).choose(&offered);
        assert_eq!(choose("rpi-5"), Some(1));
        assert_eq!(choose("rpi-3-b"), Some(2));
        assert_eq!(choose("rpi-b"), Some(0));
        assert_eq!(choose("pc-x86-64"), None);
    }
}
