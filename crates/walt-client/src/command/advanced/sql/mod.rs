//! `walt advanced sql`

mod prompt;
mod table;

use self::table::{Form, Writer};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::output;
use crate::server::Server;
use std::io::{IsTerminal, Read};
use walt_proto::api::sql::SqlRequest;
use walt_proto::api::{Event, route};

/// Longest input read from a file or a pipe, in bytes: the server refuses longer ones.
const MAX_INPUT: u64 = 1 << 20;

/// Said before the first prompt.
const HINT: &str = "Tip: list tables with \\dt, columns with \\d TABLE; leave with \\q or ctrl-D.";

/// The command.
pub const COMMAND: Command = Command {
    name: "sql",
    about: "Asks the databases of the server in SQL: nodes, devices, logs...\n\
        Without QUERY, questions are read from standard input; from a terminal, at a prompt. \
        Nothing can be changed this way.",
    example: "$ walt advanced sql 'select name, ip from devices order by name'\n\
        $ echo '\\dt' | walt advanced sql\n\
        $ walt advanced sql --csv 'select * from nodes' > nodes.csv",
    positionals: &[Positional::optional("query", Kind::Text("QUERY"), "None")],
    switches: &[
        Switch {
            excludes: &["json"],
            ..Switch::flag("csv", "print rows as CSV, with a line of column names")
        },
        Switch {
            excludes: &["csv"],
            ..Switch::flag("json", "print rows as JSON objects, for programs")
        },
    ],
    topics: &["sql", "sql-schema"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let form = match (args.flag("csv"), args.flag("json")) {
        (true, _) => Form::Csv,
        (_, true) => Form::Json,
        _ => Form::Table,
    };
    let server = server()?;
    let query = args.positional(0);
    if !query.is_empty() {
        for piece in pieces(query)? {
            ask(&server, &piece, form)?;
        }
    } else if std::io::stdin().is_terminal() {
        output::line(HINT);
        output::line("");
        prompt::run(&server, form)?;
    } else {
        let mut text = String::new();
        let read = std::io::stdin().take(MAX_INPUT).read_to_string(&mut text);
        read.map_err(|error| Failure::plain(format!("Cannot read the questions: {error}.")))?;
        for piece in pieces(&text)? {
            ask(&server, &piece, form)?;
        }
    }
    Ok(0)
}

/// Sends a question, prints its answer.
fn ask(server: &Server, query: &str, form: Form) -> Result<(), Failure> {
    let mut events = server.events(route::SQL, &SqlRequest { query: query.to_owned() })?;
    let mut writer = Writer::new(form);
    let end = loop {
        match events.next_event() {
            Ok(Some(Event::SqlColumns { names })) => writer.columns(names)?,
            Ok(Some(Event::SqlRows { rows })) => writer.rows(rows)?,
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // What came is shown, also when it is not all.
    writer.finish(end.is_ok());
    end
}

/// The statements of an input: lines that begin with `\` are commands of the prompt.
fn pieces(text: &str) -> Result<Vec<String>, Failure> {
    let mut pieces = vec![String::new()];
    for line in text.lines() {
        let Some(current) = pieces.last_mut() else { break };
        if line.trim_start().starts_with('\\') && is_between_statements(current) {
            match command(line.trim())? {
                Some(query) => pieces.push(query),
                None => break,
            }
            pieces.push(String::new());
        } else {
            current.push_str(line);
            current.push('\n');
        }
    }
    pieces.retain(|piece| !piece.trim().is_empty());
    Ok(pieces)
}

/// Is what was read so far whole statements? A `;` inside quotes ends none.
fn is_between_statements(text: &str) -> bool {
    let text = text.trim_end();
    text.is_empty() || (text.ends_with(';') && text.matches('\'').count().is_multiple_of(2))
}

/// What a command of the prompt asks; `None` for the one that leaves.
fn command(line: &str) -> Result<Option<String>, Failure> {
    let line = line.trim_end_matches(';');
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    match (word, argument) {
        ("\\q", "") => Ok(None),
        ("\\dt" | "\\d", "") => {
            Ok(Some("SELECT name, database, about FROM walt_tables ORDER BY name".to_owned()))
        }
        ("\\d", table) => {
            let table = table.replace('\'', "''");
            Ok(Some(format!("SELECT name, about FROM walt_columns WHERE table_name = '{table}'")))
        }
        _ => Err(Failure::plain(format!(
            "There is no command '{word}' here. Known ones: \\dt, \\d TABLE, \\q."
        ))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_cut_at_commands() {
        let found = pieces("\\dt\nselect 1,\n '\n\\d x'; select 2;\n").unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("walt_tables"));
        assert_eq!(found[1], "select 1,\n '\n\\d x'; select 2;\n");
        assert_eq!(pieces("\\q\nselect 1").unwrap(), [""; 0]);
        assert_eq!(pieces("select 1;\n\\q\nselect 2;").unwrap(), ["select 1;\n"]);
        assert_eq!(pieces("select ';\n\\q';").unwrap(), ["select ';\n\\q';\n"]);
        assert!(pieces("\\d it's").unwrap()[0].ends_with("'it''s'"));
        assert!(pieces("\\copy x").unwrap_err().to_string().contains("Known ones"));
    }
}
