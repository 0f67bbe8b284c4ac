//! The ownership gate: the server tells the facts, the client words them and asks.

use crate::failure::Failure;
use crate::output;
use crate::terminal::confirm::confirm;
use walt_model::sentence::sentence;
use walt_proto::api::error::{Gate, GateMode};
use walt_proto::api::{ApiError, ErrorKind};

/// Where to read more.
const POINTER: &str = "See 'walt help show node-ownership' for more info.";

/// Does something that may need the user's consent: `attempt(false)` first, then, if the server wants a confirmation
/// and the user gives it, `attempt(true)`. `yes`: the user gave it on the command line (`--yes`).
///
/// # Errors
/// Those of the attempt; a refusal of the gate; [`Failure::Aborted`] when the user says no.
pub fn with_consent<T>(
    yes: bool,
    mut attempt: impl FnMut(bool) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match attempt(false) {
        Err(Failure::Server(error)) => match consent(&error, yes)? {
            true => attempt(true),
            false => Err(Failure::Server(error)),
        },
        result => result,
    }
}

/// True: confirmed. False: not a matter of consent.
fn consent(error: &ApiError, yes: bool) -> Result<bool, Failure> {
    match (error.kind, &error.gate) {
        (ErrorKind::ConfirmationNeeded, gate) => {
            let warning = gate.as_ref().and_then(words);
            output::error(&warning.unwrap_or_else(|| error.message.clone()));
            confirm(yes)?;
            Ok(true)
        }
        (ErrorKind::Ownership, Some(gate)) => match words(gate) {
            Some(refusal) => Err(Failure::plain(refusal)),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// What the facts mean; `None` when they hold no reason for a refusal or a question.
fn words(gate: &Gate) -> Option<String> {
    if !gate.not_nodes.is_empty() {
        let names = &gate.not_nodes;
        let text = "{is|are} not {a walt node|walt nodes}. Aborting.";
        return Some(refusal(text, "device", names).replace("aborting.", "Aborting."));
    }
    match gate.mode {
        GateMode::FreeOrNotOwned if !gate.owned.is_empty() => {
            let refusal = refusal("{is|are} already yours.", "node", &gate.owned);
            Some(format!("{refusal}\n{POINTER}"))
        }
        GateMode::Owned if !gate.free.is_empty() || !gate.foreign.is_empty() => {
            let mut others = gate.free.clone();
            others.extend_from_slice(&gate.foreign);
            let refusal = refusal("{is|are} not yours.", "node", &others);
            Some(format!("{refusal}\n{POINTER}"))
        }
        _ if !gate.foreign.is_empty() => Some(sentence(
            "Warning: {} {seems|seem} to be used by another user.",
            "node",
            &gate.foreign,
        )),
        _ => None,
    }
}

fn refusal(text: &str, noun: &str, names: &[String]) -> String {
    sentence(&format!("Error: {{}} {text}"), noun, names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn wording() {
        let foreign =
            Gate { mode: GateMode::OwnedOrFree, foreign: names(&["n1"]), ..Gate::default() };
        assert_eq!(words(&foreign).unwrap(), "Warning: node n1 seems to be used by another user.");
        let owned =
            Gate { mode: GateMode::FreeOrNotOwned, owned: names(&["n1"]), ..Gate::default() };
        assert!(words(&owned).unwrap().starts_with("Error: node n1 is already yours.\n"));
        let free = Gate {
            mode: GateMode::Owned,
            free: names(&["b"]),
            foreign: names(&["a"]),
            ..Gate::default()
        };
        assert!(words(&free).unwrap().starts_with("Error: nodes a and b are not yours.\n"));
        let not = Gate { not_nodes: names(&["sw1"]), ..Gate::default() };
        assert_eq!(words(&not).unwrap(), "Error: device sw1 is not a walt node. Aborting.");
    }

    #[test]
    fn consent_is_asked_once() {
        let error = ApiError::new(ErrorKind::ConfirmationNeeded, "m");
        let mut tries = Vec::new();
        let result = with_consent(true, |confirmed| {
            tries.push(confirmed);
            if confirmed { Ok(3) } else { Err(Failure::from(error.clone())) }
        });
        assert_eq!((result.unwrap(), tries), (3, vec![false, true]));
    }

    #[test]
    fn other_errors_are_passed_on() {
        let error = ApiError::new(ErrorKind::NotFound, "m");
        let result: Result<(), _> = with_consent(true, |_| Err(Failure::from(error.clone())));
        assert_eq!(result.unwrap_err().to_string(), "m");
    }
}
