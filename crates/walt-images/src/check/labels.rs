//! The labels of an image.

use std::collections::BTreeMap;

use walt_model::{ImageName, NodeModel};

use super::Finding;
use crate::catalogue::{LABEL_MODELS, LABEL_PREFERRED_NAME, models_of};

/// Label holding the oldest WalT server that can serve the image: an integer.
const LABEL_MIN_VERSION: &str = "walt.server.minversion";
/// The version of WalT whose images this server serves: the original's numbering.
pub const COMPATIBLE_WITH: u32 = 10;
/// How to set a label.
const MEND: &str = "in the Dockerfile: LABEL walt.node.models=<model>,<model>...";

/// The findings about labels. `asked`: models of the question, that the label should list.
pub(super) fn look(labels: &BTreeMap<String, String>, asked: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    match labels.get(LABEL_MODELS) {
        None => findings.push(Finding::vital(
            format!("The label {LABEL_MODELS} is missing"),
            "it tells which nodes can boot the image; without it this is no WalT image",
            MEND,
        )),
        Some(list) => findings.extend(models(list, asked)),
    }
    if let Some(text) = labels.get(LABEL_MIN_VERSION) {
        findings.extend(min_version(text));
    }
    if let Some(text) = labels.get(LABEL_PREFERRED_NAME)
        && text.parse::<ImageName>().is_err()
    {
        findings.push(Finding::warning(
            format!("The label {LABEL_PREFERRED_NAME} is '{text}', which is no name of an image"),
            "clones made for new users get another name",
            "use <name> or <name>:<tag>, of lower-case letters, digits and dashes",
        ));
    }
    findings
}

fn models(list: &str, asked: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let listed = models_of(list);
    if listed.is_empty() {
        let why = "no node can boot the image";
        findings.push(Finding::vital(
            format!("The label {LABEL_MODELS} lists no model"),
            why,
            MEND,
        ));
    }
    if list.contains(char::is_whitespace) {
        findings.push(Finding::warning(
            format!("The label {LABEL_MODELS} is '{list}', with blanks in it"),
            "this server ignores them; others do not find these models",
            MEND,
        ));
    }
    for model in &listed {
        if model.parse::<NodeModel>().is_err() {
            findings.push(Finding::warning(
                format!("The label {LABEL_MODELS} lists '{model}', which cannot be a node model"),
                "no node has this model; ranges like rpi-[3-b,4-b] have to be written out",
                MEND,
            ));
        }
    }
    for model in asked.iter().filter(|model| !listed.contains(model)) {
        findings.push(Finding {
            model: Some(model.clone()),
            ..Finding::vital(
                format!("The label {LABEL_MODELS} does not list {model}"),
                "nodes of this model are refused",
                MEND,
            )
        });
    }
    findings
}

fn min_version(text: &str) -> Option<Finding> {
    match text.trim().parse::<u32>() {
        Ok(version) if version <= COMPATIBLE_WITH => None,
        Ok(version) => Some(Finding::warning(
            format!("The label {LABEL_MIN_VERSION} is {version}"),
            format!(
                "the image was made for a newer server: this one serves images of version {COMPATIBLE_WITH}"
            ),
            "update the server, or use an older version of the image",
        )),
        Err(_) => Some(Finding::warning(
            format!("The label {LABEL_MIN_VERSION} is '{text}', which is no integer"),
            "it is ignored",
            format!("in the Dockerfile: LABEL {LABEL_MIN_VERSION}=4"),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Level;
    use super::*;

    fn found(pairs: &[(&str, &str)], asked: &[&str]) -> Vec<(Level, String)> {
        let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let asked: Vec<String> = asked.iter().map(|model| (*model).to_owned()).collect();
        look(&labels, &asked).into_iter().map(|f| (f.level, f.what)).collect()
    }

    #[test]
    fn a_good_image() {
        let labels = [
            (LABEL_MODELS, "pc-x86-64,rpi-3-b"),
            (LABEL_MIN_VERSION, "4"),
            (LABEL_PREFERRED_NAME, "pc:v1"),
        ];
        assert_eq!(found(&labels, &["rpi-3-b"]), []);
    }

    #[test]
    fn bad_labels() {
        for (labels, asked, level, text) in [
            (vec![], vec![], Level::Vital, "is missing"),
            (vec![(LABEL_MODELS, " , ")], vec![], Level::Vital, "lists no model"),
            (vec![(LABEL_MODELS, "a-1, b-2")], vec![], Level::Warning, "blanks"),
            (vec![(LABEL_MODELS, "a-1")], vec!["b-2"], Level::Vital, "does not list b-2"),
            (
                vec![(LABEL_MODELS, "rpi-[3-b,4-b]")],
                vec![],
                Level::Warning,
                "cannot be a node model",
            ),
            (
                vec![(LABEL_MODELS, "a-1"), (LABEL_MIN_VERSION, "99")],
                vec![],
                Level::Warning,
                "is 99",
            ),
            (
                vec![(LABEL_MODELS, "a-1"), (LABEL_MIN_VERSION, "x")],
                vec![],
                Level::Warning,
                "integer",
            ),
            (
                vec![(LABEL_MODELS, "a-1"), (LABEL_PREFERRED_NAME, "A/b")],
                vec![],
                Level::Warning,
                "name",
            ),
        ] {
            let found = found(&labels, &asked);
            let matches = |(l, what): &(Level, String)| *l == level && what.contains(text);
            assert!(found.iter().any(matches), "{text}: {found:?}");
        }
    }
}
