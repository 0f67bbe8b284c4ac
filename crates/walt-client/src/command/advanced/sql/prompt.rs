//! Questions typed at a terminal: a statement ends with `;`, the up arrow brings back earlier ones.

use super::table::Form;
use super::{ask, command};
use crate::failure::Failure;
use crate::output;
use crate::server::Server;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::path::PathBuf;

/// Asks until `\q` or ctrl-D. A question that fails is no reason to leave.
pub(super) fn run(server: &Server, form: Form) -> Result<(), Failure> {
    let failed =
        |error: ReadlineError| Failure::plain(format!("Cannot use this terminal: {error}."));
    let mut editor = DefaultEditor::new().map_err(failed)?;
    let history = history();
    if let Some(file) = &history {
        // None yet.
        let _ = editor.load_history(file);
    }
    let mut statement = String::new();
    loop {
        let prompt = if statement.is_empty() { "walt=> " } else { "walt-> " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            // ctrl-C: what was typed is given up.
            Err(ReadlineError::Interrupted) => {
                statement.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        };
        let query = if statement.is_empty() && line.trim_start().starts_with('\\') {
            let _ = editor.add_history_entry(line.trim());
            match command(line.trim()) {
                Ok(Some(query)) => query,
                Ok(None) => break,
                Err(error) => {
                    output::error(&error.to_string());
                    continue;
                }
            }
        } else {
            statement.push_str(&line);
            if !statement.trim_end().ends_with(';') {
                if !statement.trim().is_empty() {
                    statement.push('\n');
                }
                continue;
            }
            let _ = editor.add_history_entry(statement.replace('\n', " "));
            std::mem::take(&mut statement)
        };
        if let Err(error) = ask(server, &query, form) {
            output::error(&error.to_string());
        }
        if let Some(file) = &history {
            // A home that cannot be written is no reason to complain at each question.
            let _ = editor.save_history(file);
        }
    }
    Ok(())
}

/// Where earlier questions are kept: `$XDG_STATE_HOME/walt-sql-history`, else in `~/.local/state` when it exists.
fn history() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let dir = match set("XDG_STATE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(set("HOME")?).join(".local/state"),
    };
    dir.is_dir().then(|| dir.join("walt-sql-history"))
}
