//! Nodes: looking at them and changing them.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use walt_model::{DeviceName, DeviceSet, DeviceSetError, DownCause, NodeModel, UserName};
use walt_proto::api::boot::{BootReport, BootsQuery};
use walt_proto::api::error::GateMode;
use walt_proto::api::node::{
    BootNodes, Confirmation, CreateNode, Node, NodesQuery, NodesRequest, RebootNodes, RenameNode,
    SelectNodes, WaitNodes,
};
use walt_proto::api::{ApiError, Empty, ErrorKind, Event};

use super::caller::Caller;
use super::extract::{Body, Name, Query};
use super::failure::Failure;
use super::gate;
use super::stream::{Reporter, events};
use super::{Shared, view};
use crate::boot::report;
use crate::platform::now_ms;
use crate::registry::Device;
use crate::workflow::boot_image::{self, Choice};
use crate::workflow::clone_default::own_image;
use crate::workflow::image::defaults::ensure_default;
use crate::workflow::reboot::Outcome;
use crate::workflow::{self, create as creation};

pub(super) async fn list(
    State(platform): State<Shared>,
    caller: Caller,
    Query(query): Query<NodesQuery>,
) -> Result<Json<Vec<Node>>, Failure> {
    let devices = match query.set {
        None => platform.registry.devices(),
        Some(set) => match gate::select(&platform, &caller.user, &set, GateMode::Any, false) {
            Ok(devices) => devices,
            // An empty set is an answer here; an unknown name is not.
            Err(failure) => {
                let facts = platform.registry.facts();
                match DeviceSet::new(&set).resolve_nodes(&facts, &caller.user) {
                    Err(DeviceSetError::Empty(_)) => Vec::new(),
                    _ => return Err(failure),
                }
            }
        },
    };
    Ok(Json(view::nodes(&platform, &caller.user, &devices).await))
}

pub(super) async fn select(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<SelectNodes>,
) -> Result<Json<Vec<Node>>, Failure> {
    let user = &caller.user;
    let devices = gate::select(&platform, user, &request.set, request.gate, request.confirmed)?;
    Ok(Json(view::nodes(&platform, user, &devices).await))
}

pub(super) async fn show(
    platform: State<Shared>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<Node>, Failure> {
    show_any(platform, caller, &name).await
}

pub(super) async fn show_named(
    platform: State<Shared>,
    caller: Caller,
    name: &'static str,
) -> Result<Json<Node>, Failure> {
    show_any(platform, caller, name).await
}

async fn show_any(
    State(platform): State<Shared>,
    caller: Caller,
    name: &str,
) -> Result<Json<Node>, Failure> {
    let device = gate::one(&platform, &caller.user, name, GateMode::Any, false)?;
    match view::node(&platform, &caller.user, &device).await {
        Some(node) => Ok(Json(node)),
        None => Err(DeviceSetError::UnknownName(name.to_owned()).into()),
    }
}

pub(super) async fn create(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<CreateNode>,
) -> Result<Response, Failure> {
    let plan = creation::check(&platform, &caller.user, request).await?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "node creation", |report| async move {
        let cloned = {
            let report = report.clone();
            move |own: workflow::clone_default::OwnImage| {
                report.hint(Event::Cloned {
                    image: own.image.name().to_string(),
                    models: own.models,
                });
            }
        };
        let device = creation::create(&platform, &caller.user, plan, &report, cloned).await?;
        if let Some(node) = view::node(&platform, &caller.user, &device).await {
            report.send(Event::NodeCreated { node: Box::new(node) }).await;
        }
        Ok(None)
    }))
}

pub(super) async fn boot(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<BootNodes>,
) -> Result<Response, Failure> {
    let user = &caller.user;
    let choice = Choice::parse(&request.image, user)?;
    if let Choice::Image(image) = &choice
        && !platform.images.catalogue().exists(image).await.map_err(store_failure)?
    {
        return Err(workflow::WorkflowError::NoSuchImage(image.name().clone()).into());
    }
    let mode = GateMode::OwnedOrFree;
    let nodes = gate::select(&platform, user, &request.set, mode, request.confirmed)?;
    give_and_reboot(platform, nodes, vec![choice], DownCause::ImageChange).await
}

pub(super) async fn release(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<NodesRequest>,
) -> Result<Response, Failure> {
    let mode = GateMode::Owned;
    let nodes = gate::select(&platform, &caller.user, &request.set, mode, request.confirmed)?;
    give_and_reboot(platform, nodes, vec![Choice::Default], DownCause::Release).await
}

pub(super) async fn acquire(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<NodesRequest>,
) -> Result<Response, Failure> {
    let mode = GateMode::FreeOrNotOwned;
    let nodes = gate::select(&platform, &caller.user, &request.set, mode, request.confirmed)?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "acquire", |report| async move {
        let groups = own_images(&platform, &caller.user, &nodes, &report).await?;
        for (choice, nodes) in groups {
            give(&platform, &nodes, &choice, &report).await?;
        }
        tell_reboots(&platform, nodes, false, DownCause::Acquire, &report).await;
        Ok(None)
    }))
}

/// The caller's image of each node's model, cloned now where missing; nodes grouped by it.
async fn own_images(
    platform: &Shared,
    user: &UserName,
    nodes: &[Device],
    report: &Reporter,
) -> Result<Vec<(Choice, Vec<Device>)>, Failure> {
    let mut by_model: BTreeMap<NodeModel, Vec<Device>> = BTreeMap::new();
    for device in nodes {
        if let Some(node) = &device.node {
            by_model.entry(node.model.clone()).or_default().push(device.clone());
        }
    }
    let mut groups = Vec::new();
    for (model, nodes) in by_model {
        ensure_default(platform, &model, report).await?;
        let own = own_image(platform, user, &model).await?;
        if own.cloned {
            let image = own.image.name().to_string();
            report.send(Event::Cloned { image, models: own.models }).await;
        }
        groups.push((Choice::Image(own.image), nodes));
    }
    Ok(groups)
}

async fn give_and_reboot(
    platform: Shared,
    nodes: Vec<Device>,
    choices: Vec<Choice>,
    cause: DownCause,
) -> Result<Response, Failure> {
    for choice in &choices {
        boot_image::check(&platform, &nodes, choice).await?;
    }
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "boot", |report| async move {
        for choice in &choices {
            give(&platform, &nodes, choice, &report).await?;
        }
        tell_reboots(&platform, nodes, false, cause, &report).await;
        Ok(None)
    }))
}

async fn give(
    platform: &Shared,
    nodes: &[Device],
    choice: &Choice,
    report: &Reporter,
) -> Result<(), Failure> {
    let given = boot_image::give(platform, nodes, choice, report).await?;
    let default = *choice == Choice::Default;
    for (image, devices) in given.changed {
        let image = if default { image.short() } else { image.name().to_string() };
        report.send(Event::WillBoot { nodes: names(&devices), image, default }).await;
    }
    if !given.ignored.is_empty() {
        report.send(Event::Ignored { nodes: names(&given.ignored) }).await;
    }
    Ok(())
}

pub(super) async fn reboot(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<RebootNodes>,
) -> Result<Response, Failure> {
    let mode = GateMode::OwnedOrFree;
    let nodes = gate::select(&platform, &caller.user, &request.set, mode, request.confirmed)?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "reboot", |report| async move {
        tell_reboots(&platform, nodes, request.hard, DownCause::RebootRequested, &report).await;
        Ok(None)
    }))
}

/// Reboots nodes and tells the results, nodes with the same one together.
pub(super) async fn tell_reboots(
    platform: &Shared,
    nodes: Vec<Device>,
    hard: bool,
    cause: DownCause,
    report: &Reporter,
) {
    // The registry has their new images.
    let nodes = nodes.iter().filter_map(|device| platform.registry.by_mac(device.mac)).collect();
    let outcomes = workflow::reboot::reboot(platform, nodes, hard, cause).await;
    let (done, failed): (Vec<Outcome>, Vec<Outcome>) = outcomes.into_iter().partition(|o| o.done);
    if !done.is_empty() {
        let devices: Vec<Device> = done.into_iter().map(|outcome| outcome.device).collect();
        report.send(Event::Rebooted { nodes: names(&devices) }).await;
    }
    let mut groups: BTreeMap<_, Vec<Device>> = BTreeMap::new();
    for outcome in failed {
        groups.entry(outcome.failures).or_default().push(outcome.device);
    }
    for (attempts, devices) in groups {
        report.send(Event::RebootFailed { nodes: names(&devices), attempts }).await;
    }
}

pub(super) async fn wait(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<WaitNodes>,
) -> Result<Response, Failure> {
    let nodes = gate::select(&platform, &caller.user, &request.set, GateMode::Any, false)?;
    let tasks = platform.tasks.clone();
    let stopped = platform.tasks.token();
    Ok(events(&tasks, "wait", |report| async move {
        let limit = request.timeout_s.map_or(Duration::MAX, Duration::from_secs);
        let mut missing = nodes.clone();
        let waiting = async {
            let mut awaiting = workflow::wait::Awaiting::new(&platform, nodes);
            while let Some(change) = awaiting.next().await {
                for device in &change.arrived {
                    missing.retain(|awaited| awaited.mac != device.mac);
                    report.send(Event::Booted { node: device.name.to_string() }).await;
                }
                if !change.awaited.is_empty() {
                    report.send(Event::Waiting { nodes: names(&change.awaited) }).await;
                }
            }
        };
        tokio::select! {
            ended = tokio::time::timeout(limit, waiting) => match ended {
                Ok(()) if missing.is_empty() => Ok(None),
                // A node that is no longer there was not booted: this is no success.
                Ok(()) => {
                    let removed = "{} {was|were} removed before {it|they} booted.";
                    let message = walt_model::sentence::sentence(removed, "node", &names(&missing));
                    Err(ApiError::new(ErrorKind::NotFound, message).into())
                }
                Err(_) => Err(ApiError::new(ErrorKind::Timeout, "Timeout was reached.").into()),
            },
            () = report.gone() => Ok(None),
            () = stopped.cancelled() => {
                Err(ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into())
            }
        }
    }))
}

pub(super) async fn remove(
    platform: State<Shared>,
    caller: Caller,
    query: Query<Confirmation>,
    Name(name): Name,
) -> Result<Json<Empty>, Failure> {
    remove_any(platform, caller, query, &name).await
}

pub(super) async fn remove_named(
    platform: State<Shared>,
    caller: Caller,
    query: Query<Confirmation>,
    name: &'static str,
) -> Result<Json<Empty>, Failure> {
    remove_any(platform, caller, query, name).await
}

async fn remove_any(
    State(platform): State<Shared>,
    caller: Caller,
    Query(query): Query<Confirmation>,
    name: &str,
) -> Result<Json<Empty>, Failure> {
    let mode = GateMode::OwnedOrFree;
    let device = gate::one(&platform, &caller.user, name, mode, query.confirmed)?;
    detached(&platform.clone(), async move { workflow::remove::remove(&platform, &device).await })
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn rename(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<RenameNode>,
) -> Result<Json<Empty>, Failure> {
    let mode = GateMode::OwnedOrFree;
    let device = gate::one(&platform, &caller.user, &name, mode, request.confirmed)?;
    let new: DeviceName =
        request.new_name.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    detached(&platform.clone(), async move {
        workflow::rename::rename(&platform, &device, new).await.map(|_| ())
    })
    .await?;
    Ok(Json(Empty {}))
}

/// Runs a change to its end even if the client goes away meanwhile.
pub(super) async fn detached<T, F>(platform: &Shared, work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, workflow::WorkflowError>> + Send + 'static,
{
    let (done, is_done) = tokio::sync::oneshot::channel();
    platform.tasks.spawn("change of a node", async move {
        let _ = done.send(work.await);
    });
    match is_done.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::internal(&"the change panicked")),
    }
}

pub(super) async fn boots(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<BootsQuery>,
) -> Result<Json<Vec<BootReport>>, Failure> {
    let device = gate::one(&platform, &caller.user, &name, GateMode::Any, false)?;
    let facts = platform.facts(&device);
    let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
    let boots = platform.boots.of(device.mac);
    let mut reports = report::reports(device.name.as_str(), &boots, &facts, now_ms());
    reports.truncate(limit);
    Ok(Json(reports))
}

fn names(devices: &[Device]) -> Vec<String> {
    let mut names: Vec<String> = devices.iter().map(|device| device.name.to_string()).collect();
    names.sort();
    names
}

fn store_failure(error: walt_images::CatalogueError) -> Failure {
    workflow::WorkflowError::Store(error).into()
}
