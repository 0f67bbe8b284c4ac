//! Accounts on registries: the server says when it needs one, the client finds it or asks for it.
//!
//! Looked for in this order, each once: the environment (`WALT_REGISTRY_<LABEL>_USERNAME` and `..._PASSWORD`), the file
//! `~/.walt/config`, the user. What the user types is used for this command, and kept in that file only if wanted so.

mod file;
mod mask;
mod prompt;

use crate::failure::Failure;
use crate::output;
use crate::terminal::is_interactive;
use std::collections::BTreeSet;
use walt_proto::api::image::registry::{Account, Accounts, CredentialsNeeded, Secret};

/// What to do about a registry that no account is found for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Ask until there is one: the operation is about this registry.
    Ask,
    /// Ask on a terminal, where an empty answer leaves the registry out; else leave it out.
    LeaveOut,
}

/// What is given to the server with a request.
#[derive(Debug, Default)]
pub struct Given {
    /// Accounts, by label.
    pub accounts: Accounts,
    /// Registries to leave out.
    pub without: Vec<String>,
}

/// Does something that may need accounts: again with one more each time the server says so.
///
/// # Errors
/// Those of the attempt; [`Failure::Aborted`] at the end of the input.
pub fn with_accounts<T>(
    missing: Missing,
    mut attempt: impl FnMut(&Given) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut given = Given::default();
    let mut tried = BTreeSet::new();
    let mut typed = BTreeSet::new();
    loop {
        let needed = match attempt(&given) {
            Err(Failure::Server(error)) if error.credentials.is_some() => {
                let refused = error.credentials.as_ref().is_some_and(|needed| needed.refused);
                if refused {
                    output::error(&output::printable(&error.message));
                }
                error.credentials
            }
            result => {
                if result.is_ok() {
                    offer_to_keep(&typed, &given.accounts);
                }
                return result;
            }
        };
        let Some(needed) = needed else { continue };
        let label = needed.registry.clone();
        given.accounts.remove(&label);
        if given.without.contains(&label) {
            return Err(Failure::plain(format!("The server insists on an account for '{label}'.")));
        }
        match find(&needed, missing, &mut tried)? {
            Some((account, by_hand)) => {
                if by_hand {
                    typed.insert(label.clone());
                }
                given.accounts.insert(label, account);
            }
            None => given.without.push(label),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Environment,
    File,
}

/// The next account to try, and whether the user typed it. None: leave the registry out.
fn find(
    needed: &CredentialsNeeded,
    missing: Missing,
    tried: &mut BTreeSet<(String, Source)>,
) -> Result<Option<(Account, bool)>, Failure> {
    let label = &needed.registry;
    if tried.insert((label.clone(), Source::Environment))
        && let Some(account) = from_environment(label, |name| std::env::var(name).ok())
    {
        return Ok(Some((account, false)));
    }
    if tried.insert((label.clone(), Source::File))
        && let Some(account) = file::account(label)?
    {
        return Ok(Some((account, false)));
    }
    if missing == Missing::LeaveOut && !is_interactive() {
        output::error(&format!("Registry '{label}' is left out: it needs an account. {ADVICE}"));
        return Ok(None);
    }
    let asked = prompt::ask(needed, missing == Missing::LeaveOut)?;
    Ok(asked.map(|account| (account, true)))
}

const ADVICE: &str = "(tip: walt help show registries)";

/// `WALT_REGISTRY_<LABEL>_USERNAME` and `..._PASSWORD`, the label in capitals with `_` for `-`.
fn from_environment(label: &str, variable: impl Fn(&str) -> Option<String>) -> Option<Account> {
    let name = format!("WALT_REGISTRY_{}", label.to_ascii_uppercase().replace('-', "_"));
    let username = variable(&format!("{name}_USERNAME"))?;
    let password = Secret::new(variable(&format!("{name}_PASSWORD"))?);
    Some(Account { username, password })
}

/// On a terminal, accounts that were typed and worked may be kept.
fn offer_to_keep(typed: &BTreeSet<String>, accounts: &Accounts) {
    for label in typed {
        let Some(account) = accounts.get(label) else { continue };
        if !is_interactive() || !prompt::keep(label) {
            continue;
        }
        match file::keep(label, account) {
            Ok(path) => {
                output::line(&format!("\nConfiguration was updated in {}.\n", path.display()))
            }
            Err(failure) => output::error(&failure.to_string()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use walt_proto::api::{ApiError, ErrorKind};

    fn needed(label: &str, refused: bool) -> Failure {
        let needed = CredentialsNeeded { registry: label.into(), refused };
        ApiError::new(ErrorKind::CredentialsNeeded, "m").with_credentials(needed).into()
    }

    #[test]
    fn the_environment_comes_first() {
        let account = from_environment("my-lab", |name| match name {
            "WALT_REGISTRY_MY_LAB_USERNAME" => Some("me".into()),
            "WALT_REGISTRY_MY_LAB_PASSWORD" => Some("p".into()),
            _ => None,
        });
        assert_eq!(account.unwrap().username, "me");
        assert!(from_environment("hub", |name| name.ends_with("NAME").then(String::new)).is_none());
    }

    #[test]
    fn what_needs_no_account_is_done_once() {
        let mut times = 0;
        let result = with_accounts(Missing::Ask, |given| {
            times += 1;
            assert!(given.accounts.is_empty());
            Ok(3)
        });
        assert_eq!((result.unwrap(), times), (3, 1));
    }

    #[test]
    fn a_registry_without_account_is_left_out_of_a_search() {
        // Tests have no terminal, and no such variables.
        let mut seen = Vec::new();
        let result = with_accounts(Missing::LeaveOut, |given| {
            seen.push(given.without.clone());
            if given.without.is_empty() { Err(needed("no-such-registry", false)) } else { Ok(()) }
        });
        result.unwrap();
        assert_eq!(seen, [vec![], vec!["no-such-registry".to_owned()]]);
    }

    #[test]
    fn a_server_that_insists_is_not_asked_for_ever() {
        let result: Result<(), _> =
            with_accounts(Missing::LeaveOut, |_| Err(needed("no-such-registry", true)));
        assert!(result.unwrap_err().to_string().contains("insists"));
    }
}
