//! What an image lacks to boot nodes: files and labels looked at, findings worded for a person.
//!
//! The image is looked at as nodes would see it before the walt layer is added: its own layers, read only. Nothing of it
//! is run. `docs/image-from-scratch.md` says what an image needs; each rule has one file here.
//!
//! A finding is vital only when nodes surely do not boot; what may be all right in an unusual image is a warning.

mod boot_files;
mod elf;
mod ipxe;
mod kernel;
mod labels;
mod model;
mod programs;
mod view;

use serde::{Deserialize, Serialize};

use crate::catalogue::{ImageId, Inspected, LABEL_MODELS, MAX_LAYERS, models_of};
use crate::inside::Inside;
use crate::podman::{Podman, READ_DEADLINE};
use crate::roots::RootError;

pub use labels::COMPATIBLE_WITH;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nodes do not boot.
    Vital,
    /// Nodes boot, something they are expected to do does not work; or they may not boot.
    Warning,
    /// Good to know.
    Note,
}

/// Something an image lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The node model it is about; none: all of them.
    pub model: Option<String>,
    /// What was found: a sentence without its point.
    pub what: String,
    /// What it means for nodes.
    pub why: String,
    /// How to mend it.
    pub mend: String,
}

impl Finding {
    fn new(
        level: Level,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { level, model: None, what: what.into(), why: why.into(), mend: mend.into() }
    }

    fn vital(what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Level::Vital, what, why, mend)
    }

    fn warning(what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Level::Warning, what, why, mend)
    }
}

/// What was found in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The models looked at.
    pub models: Vec<String>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What keeps nodes from booting it.
    pub fn vital(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level == Level::Vital)
    }

    /// Whether nodes of all models looked at can boot it, as far as can be seen.
    pub fn boots(&self) -> bool {
        self.vital().next().is_none()
    }
}

/// Looks at an image for these models; without any, for all those of its label. Takes 0.1 to 1 s.
///
/// # Errors
/// There is no such image; the store does not work. A bad image is no error.
pub async fn check(podman: &Podman, id: &ImageId, models: &[String]) -> Result<Report, RootError> {
    let args = ["image", "inspect", id.as_str()];
    let inspected: Vec<Inspected> = podman.json(&args, READ_DEADLINE).await?;
    let inspected = inspected
        .into_iter()
        .next()
        .ok_or_else(|| RootError::Interrupted(format!("no image {id}")))?;
    let layers = inspected.layer_count();
    let labels = inspected.labels.clone().unwrap_or_default();
    let labelled = labels.get(LABEL_MODELS).map(|list| models_of(list)).unwrap_or_default();
    let wanted = if models.is_empty() { labelled } else { models.to_vec() };
    let mut findings = labels::look(&labels, models);
    findings.extend(crowded(layers));
    let looked = wanted.clone();
    let seen = view::with_files(podman, &inspected, move |inside| files(inside, &looked)).await?;
    findings.extend(seen);
    findings.sort_by_key(|finding| finding.level);
    Ok(Report { models: wanted, findings })
}

/// The findings about the files of an image.
fn files(inside: &Inside, models: &[String]) -> Vec<Finding> {
    let mut findings = programs::look(inside, models);
    for model in models {
        let mut of_model = boot_files::look(inside, model);
        of_model.extend(kernel::look(inside, model));
        findings.extend(
            of_model.into_iter().map(|finding| Finding { model: Some(model.clone()), ..finding }),
        );
    }
    findings
}

fn crowded(layers: usize) -> Option<Finding> {
    (layers >= MAX_LAYERS).then(|| {
        Finding::warning(
            format!("The image has {layers} layers"),
            format!(
                "an image of {MAX_LAYERS} layers or more boots, but cannot be changed any more"
            ),
            "walt image squash <image>",
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
