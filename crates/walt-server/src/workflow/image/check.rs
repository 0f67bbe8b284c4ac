//! Looking at what an image lacks before its nodes find out.

use walt_images::ImageId;
use walt_images::check::{Finding, Level, Report, check};
use walt_model::ImageFullName;

use super::users;
use crate::platform::Platform;
use crate::workflow::{WorkflowError, within};

/// Limit on looking at an image, in seconds.
const LIMIT: u64 = 120;

/// What an image lacks to boot these models; without any, those of its label.
///
/// # Errors
/// The store does not work.
pub async fn look(
    platform: &Platform,
    id: &ImageId,
    models: &[String],
) -> Result<Report, WorkflowError> {
    let podman = platform.images.catalogue().podman();
    Ok(within("Looking at the image", LIMIT, check(podman, id, models)).await??)
}

/// Refuses new content that the nodes of an image would not boot, unless the content they have is no better: an unusual
/// image that boots today, though something seems to be missing, can still be changed.
///
/// # Errors
/// They would not boot; the store does not work.
pub(super) async fn keeps_booting(
    platform: &Platform,
    image: &ImageFullName,
    new: &ImageId,
    old: Option<&ImageId>,
) -> Result<(), WorkflowError> {
    let mut models: Vec<String> = users(platform, image)
        .into_iter()
        .filter_map(|device| device.node.map(|node| node.model.to_string()))
        .collect();
    models.sort();
    models.dedup();
    if models.is_empty() || old == Some(new) {
        return Ok(());
    }
    let report = look(platform, new, &models).await?;
    if report.boots() {
        return Ok(());
    }
    let known: Vec<Finding> = match old {
        Some(old) => look(platform, old, &models).await?.findings,
        None => Vec::new(),
    };
    let causes: Vec<String> =
        report.vital().filter(|one| !known.contains(one)).map(worded).collect();
    if causes.is_empty() {
        return Ok(());
    }
    Err(WorkflowError::Unbootable { image: image.name().clone(), causes })
}

/// What a person should know of an image that gets a name: whatever it lacks, in lines.
pub fn warnings(report: &Report) -> Vec<String> {
    let told = report.findings.iter().filter(|finding| finding.level != Level::Note);
    told.map(|finding| {
        let model = finding.model.as_deref().map(|model| format!(" ({model})")).unwrap_or_default();
        format!("Warning{model}: {}\n  mend: {}\n", worded(finding), finding.mend)
    })
    .collect()
}

/// A finding in one sentence.
pub fn worded(finding: &Finding) -> String {
    format!("{}: {}.", finding.what, finding.why)
}
