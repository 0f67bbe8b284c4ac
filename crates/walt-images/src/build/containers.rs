//! The containers podman works in while it builds. It names them itself; ours are known by a host name that the build
//! gives them ([`mark`]), written in their `buildah.json`.

use std::path::{Path, PathBuf};

use crate::podman::{CHANGE_DEADLINE, Podman};

/// Option of `podman build` that marks its containers. The name is seen by the commands of the Dockerfile, not by nodes.
pub fn mark(operation: &str) -> String {
    format!("--add-host={}:127.0.0.1", host(operation))
}

fn host(operation: &str) -> String {
    format!("walt-op-{operation}")
}

/// Removes the containers of the operations `concerned` says yes to. Answers how many went; what stays is told in the
/// journal.
pub async fn remove(podman: &Podman, concerned: impl Fn(&str) -> bool) -> usize {
    let mut removed = 0;
    for (id, operation) in marked(podman.graph_root()) {
        if concerned(&operation) {
            let command = podman.command_of("buildah").args(["rm", &id]).deadline(CHANGE_DEADLINE);
            match command.run().await {
                Ok(_) => removed += 1,
                Err(error) => {
                    tracing::warn!("a container of the build {operation} stays: {error}");
                }
            }
        }
    }
    removed
}

/// (container, operation) of the containers of builds.
fn marked(graph_root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let folders: Vec<PathBuf> = std::fs::read_dir(graph_root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with("-containers"))
        .map(|entry| entry.path())
        .collect();
    for entry in
        folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten()
    {
        let Ok(text) = std::fs::read_to_string(entry.path().join("userdata/buildah.json")) else {
            continue;
        };
        let (Some(id), Some(operation)) =
            (entry.file_name().to_str().map(str::to_owned), operation_in(&text))
        else {
            continue;
        };
        found.push((id, operation));
    }
    found
}

fn operation_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("\"{}", host("")))?;
    let end = rest.find(|c: char| !c.is_ascii_hexdigit())?;
    (end > 0 && rest[end..].starts_with(':')).then(|| rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_again() {
        let text =
            format!("{{\"add-host\":[\"{}\"]}}", mark("0a1b").trim_start_matches("--add-host="));
        assert_eq!(operation_in(&text).as_deref(), Some("0a1b"));
        assert_eq!(operation_in("{\"add-host\":[\"walt-op-x:127.0.0.1\"]}"), None);
        assert_eq!(operation_in("{}"), None);
    }
}
