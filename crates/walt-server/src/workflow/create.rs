//! Creating a virtual node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use walt_model::{DeviceName, DeviceType, DownCause, ImageFullName, Mac, UserName, platform_lines};
use walt_proto::api::node::{CreateNode, Firmware};

use super::boot_image::{self, Choice};
use super::clone_default::{OwnImage, own_image};
use super::image::defaults::ensure_default;
use super::{Progress, WorkflowError, within};
use crate::platform::{Platform, now_ms};
use crate::registry::{Device, Node, RegistryError};
use crate::state::Settings;

/// Model of virtual nodes.
pub const MODEL: &str = "pc-x86-64";
/// Limit on the start of a virtual machine, in seconds (with the trial of KVM the first time).
const START: u64 = 60;

/// A request that was checked: everything in it makes sense.
#[derive(Clone, Debug)]
pub struct Plan {
    name: DeviceName,
    image: Option<ImageFullName>,
    firmware: Firmware,
    settings: Settings,
}

/// Checks a request, without changing anything.
pub async fn check(
    platform: &Platform,
    user: &UserName,
    request: CreateNode,
) -> Result<Plan, WorkflowError> {
    let invalid = |text: String| WorkflowError::Invalid(text);
    let name: DeviceName = request.name.parse().map_err(|e| invalid(format!("{e}")))?;
    if platform.registry.name_taken(name.as_str()) {
        return Err(RegistryError::NameTaken(name).into());
    }
    let wanted = [
        ("ram", request.ram.clone()),
        ("cpu.cores", request.cpu_cores.map(|cores| cores.to_string())),
        ("disks", request.disks.clone()),
    ];
    let mut settings = Settings::new();
    for (name, text) in wanted {
        if let (Some(setting), Some(text)) = (walt_model::settings::setting(name), text) {
            settings.insert(name.to_owned(), setting.parse(&text)?);
        }
    }
    if let Some(text) = &request.disks {
        // Checked above: its text is good.
        let disks = walt_model::settings::disks(text).unwrap_or_default();
        platform.machines.room_for(&[(None, &disks)])?;
    }
    let image = match &request.image {
        None => None,
        Some(text) => match Choice::parse(text, user)? {
            Choice::Default => None,
            Choice::Image(image) => {
                let store = platform.images.catalogue().current().await?;
                let Some(entry) = store.get(&image.to_string()) else {
                    return Err(WorkflowError::NoSuchImage(image.name().clone()));
                };
                if !entry.models.iter().any(|model| model == MODEL) {
                    let models = vec![MODEL.to_owned()];
                    return Err(WorkflowError::Incompatible { image, models });
                }
                Some(image)
            }
        },
    };
    Ok(Plan { name, image, firmware: request.firmware, settings })
}

/// Creates the node and starts its virtual machine. `cloned` is told when the default image was given
/// to the user for that. A failure leaves nothing behind, except that clone.
pub async fn create(
    platform: &Arc<Platform>,
    user: &UserName,
    plan: Plan,
    progress: &dyn Progress,
    cloned: impl FnOnce(OwnImage) + Send,
) -> Result<Device, WorkflowError> {
    let model: walt_model::NodeModel =
        MODEL.parse().map_err(|error| WorkflowError::Invalid(format!("{error}")))?;
    let image = match plan.image {
        Some(image) => image,
        None => {
            ensure_default(platform, &model, progress).await?;
            let own = own_image(platform, user, &model).await?;
            let image = own.image.clone();
            if own.cloned {
                cloned(own);
            }
            image
        }
    };
    progress.label("Registering virtual node");
    let device = platform.registry.create(|ip, taken| {
        let mut device = Device::new(free_mac(taken), plan.name, Some(ip), DeviceType::Node);
        device.is_virtual = true;
        device.settings = plan.settings;
        let firmware = plan.firmware;
        device.node = Some(Node { model, image: image.clone(), firmware });
        device
    })?;
    match start(platform, &device, &image, progress).await {
        Ok(()) => Ok(device),
        Err(error) => {
            super::remove::forget(platform, &device).await;
            Err(error)
        }
    }
}

async fn start(
    platform: &Arc<Platform>,
    device: &Device,
    image: &ImageFullName,
    progress: &dyn Progress,
) -> Result<(), WorkflowError> {
    platform.save(device).await?;
    drop(platform.logs.name_issuer(device.mac, &device.name));
    let line = platform_lines::new_device(platform_lines::NewDevice {
        name: &device.name,
        device_type: device.kind,
        model: device.node.as_ref().map(|node| &node.model),
        mac: device.mac,
        ip: device.ip,
        previously_unknown: false,
    });
    platform.say(platform_lines::DEVICES_STREAM, &line);
    progress.label("Preparing its image");
    boot_image::ready(platform, image).await?;
    progress.label("Starting its virtual machine");
    platform.boots.begin(device.mac, "created", &image.to_string(), now_ms());
    open_machine(platform, device).await
}

/// Starts (or adopts) the virtual machine of a node, and listens to it.
pub async fn open_machine(platform: &Arc<Platform>, device: &Device) -> Result<(), WorkflowError> {
    let machine = within("Starting the virtual machine", START, platform.machines.open(device))
        .await?
        .map_err(|source| WorkflowError::Machine { node: device.name.clone(), source })?;
    crate::console::record(platform, device.mac, &machine);
    crate::console::follow_events(platform, device.mac, &machine);
    Ok(())
}

/// The machine of a node known since before this server: adopted if it still runs; else started, which is
/// another boot.
pub async fn resume_machine(
    platform: &Arc<Platform>,
    device: &Device,
) -> Result<(), WorkflowError> {
    let asked = Instant::now();
    let asked_ms = now_ms();
    open_machine(platform, device).await?;
    let Some(machine) = platform.machines.of(device.mac) else { return Ok(()) };
    let status = machine.status().await.ok();
    let age = status.and_then(|status| status.uptime).unwrap_or_default();
    // Times of processes are known to the second.
    if age > asked.elapsed() + Duration::from_secs(1) {
        return Ok(());
    }
    let image = device.node.as_ref().map(|node| node.image.to_string()).unwrap_or_default();
    platform.node_down(device, DownCause::Unknown, "server start");
    platform.boots.begin(device.mac, "server start", &image, asked_ms);
    Ok(())
}

/// An address of the range of virtual machines that no device has.
fn free_mac(taken: &dyn Fn(Mac) -> bool) -> Mac {
    loop {
        let [a, b, c]: [u8; 3] = rand::random();
        let mac = Mac([0x52, 0x54, 0x00, a, b, c]);
        if !taken(mac) {
            return mac;
        }
    }
}
