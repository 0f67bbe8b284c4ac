//! `walt node config`

use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::gate::with_consent;
use crate::grammar::{Args, Command, JSON, Kind, Positional, YES};
use crate::output;
use crate::server::query;
use serde_json::Value;
use std::collections::BTreeMap;
use walt_model::sentence::sentence;
use walt_proto::api::route;
use walt_proto::api::settings::{ChangeSettings, DeviceSettings, SettingsChanged};

/// The command.
pub const COMMAND: Command = Command {
    name: "config",
    about: "Shows or changes settings of nodes.\nWithout settings, shows those of the nodes. With settings, changes \
        them on all nodes of the set, or on none if one does not fit.",
    example: "$ walt node config n1,n2 ram=1G cpu.cores=2\n\
        Done. Reboot node(s) to see new settings in effect.",
    positionals: &[
        Positional::required("node_set", Kind::NodeSet),
        Positional::variable("configuration", Kind::NodeSetting),
    ],
    switches: &[JSON, YES],
    topics: &["node-config", "node-ownership"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    configure(args, true)
}

/// Shows or changes the settings of the set in the first argument.
///
/// # Errors
/// Those of the server, [`Failure::Aborted`], an argument that is no setting.
pub fn configure(args: &Args, nodes_only: bool) -> Outcome {
    let set = args.positional(0);
    let settings = wanted(args.rest(1)).map_err(Failure::plain)?;
    let server = server()?;
    if settings.is_empty() {
        let devices: Vec<DeviceSettings> = server.get(&settings_path(set, nodes_only))?;
        if args.flag("json") {
            output::json(&devices)?;
        } else {
            output::print(&listing(&devices));
        }
        return Ok(0);
    }
    let changed: SettingsChanged = with_consent(yes(args), |confirmed| {
        let request = ChangeSettings {
            set: set.to_owned(),
            nodes_only,
            settings: settings.clone(),
            confirmed,
        };
        server.post(route::SETTINGS, &request)
    })?;
    if args.flag("json") {
        output::json(&changed)?;
    } else {
        output::line(done(&changed));
    }
    Ok(0)
}

/// Where the settings of a set are.
pub fn settings_path(set: &str, nodes_only: bool) -> String {
    let nodes_only = nodes_only.then_some("true");
    format!("{}{}", route::SETTINGS, query(&[("set", Some(set)), ("nodes_only", nodes_only)]))
}

/// Reads `name=value` arguments; the value is everything after the first `=`.
fn wanted(words: &[String]) -> Result<BTreeMap<String, Value>, String> {
    let mut settings = BTreeMap::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!(
                "Failed: '{word}' is not of the form <setting name>=<setting value>.\n\
                 See 'walt help show node-config' for more info."
            ));
        };
        if settings.insert(name.to_owned(), Value::from(value)).is_some() {
            return Err(format!("Failed: setting '{name}' is given twice."));
        }
    }
    Ok(settings)
}

/// What is said once settings were changed.
fn done(changed: &SettingsChanged) -> &'static str {
    match (changed.needs_reboot, changed.all_nodes) {
        (false, _) => "Done.",
        (true, true) => "Done. Reboot node(s) to see new settings in effect.",
        (true, false) => "Done. Reboot device(s) to see new settings in effect.",
    }
}

/// Devices with the same settings together.
fn listing(devices: &[DeviceSettings]) -> String {
    type Alike<'a> = (&'a str, &'a BTreeMap<String, String>, Vec<&'a str>);
    let mut groups: Vec<Alike> = Vec::new();
    for device in devices {
        let same = |(category, settings, _): &&mut Alike| {
            *category == device.category && **settings == device.settings
        };
        match groups.iter_mut().find(same) {
            Some((_, _, names)) => names.push(&device.device),
            None => groups.push((&device.category, &device.settings, vec![&device.device])),
        }
    }
    let block = |(category, settings, names): &Alike| {
        // There is only one server.
        let who = |rest: &str| match *category {
            "server" => format!("Server has {rest}"),
            _ => sentence("{} {has|have} ", category, names) + rest,
        };
        if settings.is_empty() {
            return who("no config option available.\n");
        }
        let lines: String = settings
            .iter()
            .map(|(name, value)| output::printable(&format!("{name}={value}")) + "\n")
            .collect();
        who("the following config applied:\n") + &lines
    };
    groups.iter().map(block).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn device(name: &str, category: &str, settings: &[(&str, &str)]) -> DeviceSettings {
        DeviceSettings {
            device: name.into(),
            category: category.into(),
            settings: settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            set: BTreeMap::new(),
        }
    }

    #[test]
    fn devices_with_the_same_settings_are_shown_together() {
        let devices = [
            device("a", "virtual node", &[("ram", "1G"), ("boot.delay", "0")]),
            device("b", "node", &[("kexec.allow", "true")]),
            device("c", "virtual node", &[("ram", "1G"), ("boot.delay", "0")]),
            device("walt-server", "server", &[]),
        ];
        assert_eq!(
            listing(&devices),
            "Virtual nodes a and c have the following config applied:\nboot.delay=0\nram=1G\n\n\
             Node b has the following config applied:\nkexec.allow=true\n\n\
             Server has no config option available.\n"
        );
    }

    #[test]
    fn arguments() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let settings = wanted(&words(&["ram=1G", "x=a=b"])).unwrap();
        assert_eq!(settings["x"], "a=b");
        assert!(wanted(&words(&["ram"])).unwrap_err().contains("<setting name>=<setting value>"));
        assert!(wanted(&words(&["ram=1G", "ram=2G"])).is_err());
    }

    #[test]
    fn closing_words() {
        let changed = |needs_reboot, all_nodes| SettingsChanged {
            needs_reboot,
            all_nodes,
            ..SettingsChanged::default()
        };
        assert_eq!(done(&changed(false, true)), "Done.");
        assert_eq!(
            done(&changed(true, true)),
            "Done. Reboot node(s) to see new settings in effect."
        );
        assert!(done(&changed(true, false)).contains("device(s)"));
    }
}
