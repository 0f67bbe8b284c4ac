//! `walt image shell`

use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch, YES};
use crate::operation::follow;
use crate::output;
use crate::server::Server;
use crate::session::{self, Input};
use crate::terminal::confirm::{self, Typed};
use crate::terminal::{self, signals};
use walt_proto::api::image::session::{ImageShell, OpenShell, SaveShell, ShellMode};
use walt_proto::api::{Empty, ErrorKind, route, session as api};

/// The command.
pub const COMMAND: Command = Command {
    name: "shell",
    about: "Opens a shell in an image, to change it.\nAt the end you choose a name for the result: that of the image, \
        or a new one. If your connection is cut, the shell is kept for a day.",
    example: "$ walt image shell my-image\nroot@image-shell:~# apt-get install -y tcpdump\nroot@image-shell:~# exit",
    usage: &[
        "[SWITCHES] <image-name>",
        "[SWITCHES] --resume [<image-name>]",
        "[SWITCHES] --discard [<image-name>]",
    ],
    positionals: &[Positional::optional("image_name", Kind::Image, "that of your only shell")],
    switches: &[
        Switch::flag("discard", "drop a shell that was left, and what was done there"),
        Switch {
            excludes: &["discard"],
            ..Switch::flag("resume", "go back to a shell that was left")
        },
        YES,
    ],
    topics: &["shells", "image-shell-resume"],
    run,
    ..Command::NEW
};

/// How the person at the prompt of the end wants it.
enum Ending {
    Saved(u8),
    Aborted,
}

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let name = args.positional(0);
    if args.flag("discard") {
        let shell = kept(&server, name)?;
        discard(&server, &shell.id)?;
        output::line(&format!("The shell in image {} was dropped.", shell.image));
        return Ok(0);
    }
    let shell = if args.flag("resume") {
        kept(&server, name)?
    } else if name.is_empty() {
        return Err(Failure::plain("Which image? (tip: walt image show)"));
    } else {
        let term = terminal::is_interactive().then(terminal::term);
        server.post(&route::fill(route::IMAGE_SHELLS, name), &OpenShell { term })?
    };
    note(&shell, args.flag("resume"));
    if shell.running {
        enter(&server, &shell).map_err(|failure| left(failure, &shell))?;
    }
    match end(&server, &shell, yes(args)).map_err(|failure| left(failure, &shell))? {
        Ending::Saved(status) => Ok(status),
        Ending::Aborted => {
            discard(&server, &shell.id)?;
            output::line("Aborted.");
            Ok(0)
        }
    }
}

/// The caller's shell in that image, or the only one.
fn kept(server: &Server, name: &str) -> Result<ImageShell, Failure> {
    let mut shells: Vec<ImageShell> = server.get(route::SHELLS)?;
    let wanted = name.strip_suffix(":latest").unwrap_or(name);
    shells.retain(|shell| wanted.is_empty() || shell.image == wanted);
    match (shells.pop(), shells.is_empty()) {
        (Some(shell), true) => Ok(shell),
        (Some(_), false) => Err(Failure::plain(
            "You have several shells: give the name of the image. (tip: walt image sessions)",
        )),
        (None, _) if wanted.is_empty() => {
            Err(Failure::plain("You have no shell in an image to go back to."))
        }
        (None, _) => Err(Failure::plain(format!(
            "You have no shell in image '{wanted}' to go back to. (tip: walt image sessions)"
        ))),
    }
}

fn note(shell: &ImageShell, resumed: bool) {
    match shell.mode {
        ShellMode::Advanced => output::line(
            "Note: the operating system of the image was started in a container, and this is a shell in it.",
        ),
        ShellMode::Simple => output::line(
            "Note: this is a shell in a container; the services of the image are not started.",
        ),
    }
    output::line("Run `walt help show shells` for more info.");
    output::line("");
    if resumed && shell.running && shell.mode == ShellMode::Simple {
        output::line("This is the shell you left: press Enter if you see no prompt.");
    } else if resumed && !shell.running {
        output::line("The shell has ended since; what was done in it can still be saved.");
    }
}

/// Until the shell ends; its own status says nothing about the image.
fn enter(server: &Server, shell: &ImageShell) -> Result<(), Failure> {
    let path = route::fill(route::SHELL_ATTACH, &shell.id);
    let start = session::start(api::Command::Shell, session::our_tty(), false);
    session::run(server, &path, start, Input::Stdin).map(drop)
}

/// A cut connection is not the end of the shell, nor is a closed terminal.
fn left(failure: Failure, shell: &ImageShell) -> Failure {
    let gone = |kind: ErrorKind| kind == ErrorKind::NotFound;
    match &failure {
        Failure::Server(error) if gone(error.kind) => failure,
        Failure::Server(_) | Failure::Connection(_) | Failure::HungUp => {
            output::error(&failure.to_string());
            output::error(&format!(
                "What was done in the shell is kept for a day: walt image shell --resume {}",
                shell.image
            ));
            Failure::Said(1)
        }
        _ => failure,
    }
}

fn discard(server: &Server, id: &str) -> Result<(), Failure> {
    server.delete::<Empty>(&route::fill(route::SHELL, id)).map(drop)
}

/// Asks for the name of the result until it is saved, or the user gives up.
fn end(server: &Server, shell: &ImageShell, yes: bool) -> Result<Ending, Failure> {
    let id = shell.id.clone();
    signals::on_interrupt(Some(Box::new(move || {
        let dropped = Server::from_environment().and_then(|server| discard(&server, &id));
        output::line("");
        match dropped {
            Ok(()) => {
                output::line("Aborted.");
                0
            }
            Err(failure) => {
                output::error(&failure.to_string());
                1
            }
        }
    })));
    let outcome = ask(server, shell, yes);
    signals::on_interrupt(None);
    outcome
}

fn ask(server: &Server, shell: &ImageShell, yes: bool) -> Result<Ending, Failure> {
    loop {
        output::line("------");
        output::line("The shell has ended. Type a new name to save the result as another image,");
        output::line(&format!(
            "or press Enter to keep the name '{}' and replace that image.",
            shell.image
        ));
        output::line("To drop what was changed, press ctrl-C.");
        output::line("------");
        let name = match confirm::line("New image name: ") {
            Typed::Answer(name) => name,
            Typed::End => {
                output::line("");
                return Ok(Ending::Aborted);
            }
            Typed::Gone => return Err(Failure::HungUp),
        };
        let name = if name.is_empty() {
            output::line(&format!("Selected: {}", shell.image));
            shell.image.clone()
        } else {
            name
        };
        match save(server, shell, name, yes)? {
            Some(ending) => return Ok(ending),
            None => continue,
        }
    }
}

/// `None`: the question is to be asked again.
fn save(
    server: &Server,
    shell: &ImageShell,
    name: String,
    yes: bool,
) -> Result<Option<Ending>, Failure> {
    let path = route::fill(route::SHELL_SAVE, &shell.id);
    let mut request = SaveShell { name, confirmed: false };
    loop {
        let refused = match server.events(&path, &request) {
            Ok(events) => {
                // From here on ctrl-C does not undo anything: the server goes on.
                signals::on_interrupt(None);
                return follow(events).map(|status| Some(Ending::Saved(status)));
            }
            Err(Failure::Server(error)) => error,
            Err(failure) => return Err(failure),
        };
        match refused.kind {
            ErrorKind::ConfirmationNeeded if !request.confirmed => {
                output::error(&refused.message);
                match confirm::is_sure(yes) {
                    Typed::Answer(true) => {
                        output::line("OK.");
                        output::line("");
                        request.confirmed = true;
                    }
                    Typed::Answer(false) => return Ok(None),
                    Typed::End => return Ok(Some(Ending::Aborted)),
                    Typed::Gone => return Err(Failure::HungUp),
                }
            }
            ErrorKind::Invalid | ErrorKind::Conflict => {
                output::error(&refused.message);
                return Ok(None);
            }
            _ => return Err(Failure::Server(refused)),
        }
    }
}
