//! Which nodes of a set the caller may touch.

use walt_model::sentence::sentence;
use walt_model::{DeviceSet, UserName};
use walt_proto::api::error::{Gate, GateMode};
use walt_proto::api::node::Ownership;
use walt_proto::api::{ApiError, ErrorKind};

use super::failure::Failure;
use crate::platform::Platform;
use crate::registry::Device;

/// Whose node it is, seen from a user.
pub fn ownership(device: &Device, user: &UserName) -> Ownership {
    match &device.node {
        Some(node) if node.image.owner() == user => Ownership::Own,
        Some(node) if !node.image.is_platform() => Ownership::Foreign,
        _ => Ownership::Free,
    }
}

/// The nodes of a set, resolved once, if the caller may touch them.
pub fn select(
    platform: &Platform,
    user: &UserName,
    set: &str,
    mode: GateMode,
    confirmed: bool,
) -> Result<Vec<Device>, Failure> {
    let facts = platform.registry.facts();
    let chosen = DeviceSet::new(set).resolve_nodes(&facts, user)?;
    let devices: Vec<Device> = chosen
        .iter()
        .filter_map(|facts| platform.registry.by_name(facts.name.as_str()))
        .filter(|device| device.node.is_some())
        .collect();
    check(&devices, user, mode, confirmed)?;
    Ok(devices)
}

/// The devices of a set, resolved once, if the caller may touch the nodes among them.
pub fn select_devices(
    platform: &Platform,
    user: &UserName,
    set: &str,
    mode: GateMode,
    confirmed: bool,
) -> Result<Vec<Device>, Failure> {
    let facts = platform.registry.facts();
    let chosen = DeviceSet::new(set).resolve(&facts, user)?;
    let devices: Vec<Device> =
        chosen.iter().filter_map(|facts| platform.registry.by_name(facts.name.as_str())).collect();
    let nodes: Vec<Device> =
        devices.iter().filter(|device| device.node.is_some()).cloned().collect();
    check(&nodes, user, mode, confirmed)?;
    Ok(devices)
}

/// One node by its name, if the caller may touch it.
pub fn one(
    platform: &Platform,
    user: &UserName,
    name: &str,
    mode: GateMode,
    confirmed: bool,
) -> Result<Device, Failure> {
    let device = platform
        .registry
        .by_name(name)
        .ok_or_else(|| walt_model::DeviceSetError::UnknownName(name.to_owned()))?;
    if device.node.is_none() {
        let (name, device_type) = (device.name, device.kind);
        return Err(walt_model::DeviceSetError::NotANode { name, device_type }.into());
    }
    check(std::slice::from_ref(&device), user, mode, confirmed)?;
    Ok(device)
}

/// Applies a rule to nodes.
fn check(
    devices: &[Device],
    user: &UserName,
    mode: GateMode,
    confirmed: bool,
) -> Result<(), Failure> {
    let names = |wanted: Ownership| -> Vec<String> {
        let of = devices.iter().filter(|device| ownership(device, user) == wanted);
        of.map(|device| device.name.to_string()).collect()
    };
    let gate = Gate {
        mode,
        owned: names(Ownership::Own),
        free: names(Ownership::Free),
        foreign: names(Ownership::Foreign),
        not_nodes: Vec::new(),
    };
    let refuse = |kind, template: &str, names: &[String]| {
        let message = sentence(template, "node", names);
        Err(ApiError::new(kind, message).with_gate(gate.clone()).into())
    };
    const OTHERS: &str = "Warning: {} {seems|seem} to be used by another user.";
    match mode {
        GateMode::Any => Ok(()),
        GateMode::OwnedOrFree if !gate.foreign.is_empty() && !confirmed => {
            refuse(ErrorKind::ConfirmationNeeded, OTHERS, &gate.foreign)
        }
        GateMode::OwnedOrFree => Ok(()),
        GateMode::FreeOrNotOwned if !gate.owned.is_empty() => {
            refuse(ErrorKind::Ownership, "Error: {} {is|are} already yours.", &gate.owned)
        }
        GateMode::FreeOrNotOwned if !gate.foreign.is_empty() && !confirmed => {
            refuse(ErrorKind::ConfirmationNeeded, OTHERS, &gate.foreign)
        }
        GateMode::FreeOrNotOwned => Ok(()),
        GateMode::Owned => {
            let mut others = gate.free.clone();
            others.extend(gate.foreign.clone());
            others.sort();
            if others.is_empty() {
                return Ok(());
            }
            refuse(ErrorKind::Ownership, "Error: {} {is|are} not yours.", &others)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::registry::Node;
    use walt_model::{DeviceType, Mac};

    fn node(last: u8, owner: &str) -> Device {
        let name = format!("n{last}").parse().unwrap();
        let mut device = Device::new(Mac([2, 0, 0, 0, 0, last]), name, None, DeviceType::Node);
        device.node = Some(Node {
            model: "pc-x86-64".parse().unwrap(),
            image: format!("{owner}/img").parse().unwrap(),
            firmware: walt_proto::api::node::Firmware::Bios,
        });
        device
    }

    fn try_gate(owners: &[&str], mode: GateMode, confirmed: bool) -> Result<(), ErrorKind> {
        let devices: Vec<_> = owners.iter().zip(1..).map(|(owner, n)| node(n, owner)).collect();
        check(&devices, &"me".parse().unwrap(), mode, confirmed).map_err(|f| f.0.kind)
    }

    #[test]
    fn the_rules() {
        use ErrorKind::{ConfirmationNeeded, Ownership};
        let all = ["me", "waltplatform", "other"];
        assert_eq!(try_gate(&all, GateMode::Any, false), Ok(()));
        assert_eq!(try_gate(&all, GateMode::OwnedOrFree, false), Err(ConfirmationNeeded));
        assert_eq!(try_gate(&all, GateMode::OwnedOrFree, true), Ok(()));
        assert_eq!(try_gate(&all[..2], GateMode::OwnedOrFree, false), Ok(()));
        assert_eq!(try_gate(&all, GateMode::FreeOrNotOwned, true), Err(Ownership));
        assert_eq!(try_gate(&all[1..], GateMode::FreeOrNotOwned, false), Err(ConfirmationNeeded));
        assert_eq!(try_gate(&all[1..], GateMode::FreeOrNotOwned, true), Ok(()));
        assert_eq!(try_gate(&all, GateMode::Owned, true), Err(Ownership));
        assert_eq!(try_gate(&all[..1], GateMode::Owned, false), Ok(()));
    }

    #[test]
    fn the_facts_come_with_the_refusal() {
        let devices = [node(1, "me"), node(2, "other")];
        let me = "me".parse().unwrap();
        let error = check(&devices, &me, GateMode::OwnedOrFree, false).unwrap_err().0;
        assert_eq!(error.message, "Warning: node n2 seems to be used by another user.");
        assert_eq!(error.gate.unwrap().foreign, ["n2"]);
    }
}
