//! What an image lacks to boot nodes.

use axum::Json;
use axum::extract::State;
use walt_images::check::{Finding as Found, Level as Bad, Report};
use walt_model::{ImageName, NodeModel};
use walt_proto::api::image::build::{CheckQuery, Finding, ImageCheck, Level};

use super::super::Shared;
use super::super::caller::Caller;
use super::super::extract::{Name, Query};
use super::super::failure::Failure;
use crate::workflow::image::check::look;
use crate::workflow::image::space::Space;

pub(super) async fn check(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<CheckQuery>,
) -> Result<Json<ImageCheck>, Failure> {
    let (image, entry) = super::build::own_image(&platform, &caller.user, &name).await?;
    let models = match query.model {
        Some(text) => {
            let model = text.parse::<NodeModel>();
            vec![model.map_err(|error| Failure::invalid(error.to_string()))?.to_string()]
        }
        None => Vec::new(),
    };
    let space = Space::holding(&platform, &entry.id).await?;
    let report = look(&platform, &entry.id, &models).await;
    space.close().await;
    Ok(Json(told(image.name(), report?)))
}

fn told(image: &ImageName, report: Report) -> ImageCheck {
    let level = |level: Bad| match level {
        Bad::Vital => Level::Vital,
        Bad::Warning => Level::Warning,
        Bad::Note => Level::Note,
    };
    let finding = |found: Found| Finding {
        level: level(found.level),
        model: found.model,
        what: found.what,
        why: found.why,
        mend: found.mend,
    };
    let boots = report.boots();
    let findings = report.findings.into_iter().map(finding).collect();
    ImageCheck { image: image.to_string(), models: report.models, boots, findings }
}
