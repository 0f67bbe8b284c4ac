//! What users and their scripts see: texts, exit statuses, requests. The server is a fake.
#![allow(clippy::unwrap_used, missing_docs)]

mod fake;

use fake::{Answer, FakeServer, events, json, refusal, walt};

const DONE: &str = r#"{"event":"done"}"#;

const INFO: &str = r#"{"version":"0.1.0","api":1,"oldest_api":1,"user":"alice","now_ms":0,
    "timezone":"UTC","state":"ready"}"#;

fn node(name: &str, ownership: &str) -> String {
    let owner = match ownership {
        "own" => "alice",
        "free" => "waltplatform",
        _ => "bob",
    };
    format!(
        r#"{{"name":"{name}","mac":"52:54:00:00:00:01","ip":"192.168.152.2","type":"virtual",
        "model":"pc-x86-64","image":"{owner}/img:latest","owner":"{owner}","ownership":"{ownership}",
        "netsetup":"LAN","booted":true,"future_field":[1]}}"#
    )
}

fn not_found() -> Answer {
    refusal(404, r#"{"kind":"not_found","message":"No device with name 'x' found."}"#)
}

#[test]
fn usage_errors_show_the_help_of_their_level() {
    for (words, status, first) in [
        (vec![], 1, "No sub-command given"),
        (vec!["fly"], 1, "Unknown sub-command 'fly'"),
        (vec!["node", "fly"], 1, "Unknown sub-command 'fly'"),
        (vec!["node", "show", "--nope"], 2, "Error: Unknown switch --nope"),
        (vec!["node", "wait"], 2, "Error: Expected at least 1 positional argument(s), got []"),
    ] {
        let run = walt(&words, "", None);
        assert_eq!(run.status, status, "{words:?}");
        let mut lines = run.out.lines();
        assert_eq!((lines.next(), lines.next()), (Some(first), Some("------")), "{words:?}");
        assert!(run.out.contains("Usage:"), "{words:?}: {}", run.out);
        assert_eq!(run.err, "");
    }
}

#[test]
fn help_needs_no_server() {
    for words in [
        vec!["--help"],
        vec!["node", "--help"],
        vec!["node", "cp", "--help"],
        vec!["help", "list"],
        vec!["help", "show"],
        vec!["--version"],
        vec!["advanced", "dump-zsh-autocomplete"],
    ] {
        let run = walt(&words, "", None);
        assert_eq!((run.status, run.err.as_str()), (0, ""), "{words:?}");
        assert!(run.out.to_lowercase().contains("walt"), "{words:?}");
    }
    let run = walt(&["help", "show", "nothing"], "", None);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("walt help list"));
}

#[test]
fn no_server() {
    let run = walt(&["node", "show"], "", None);
    assert_eq!(run.status, 1);
    assert!(run.err.starts_with("Network connection to WalT server failed!\n"), "{}", run.err);
    assert!(run.err.contains("/nowhere/api.sock"));
}

#[test]
fn node_show() {
    let server = FakeServer::start(|_, _| {
        let nodes = [node("n2", "foreign"), node("n1", "own"), node("n3", "free")];
        json(&format!("[{}]", nodes.join(",")))
    });
    let run = server.walt(&["node", "show"]);
    assert_eq!(run.status, 0);
    assert!(
        run.out.contains("\nn1    virtual  pc-x86-64  img    192.168.152.2  LAN       yes   \n")
    );
    assert!(!run.out.contains("n2") && !run.out.contains('\x1b'), "{}", run.out);
    let run = server.walt(&["node", "show", "--all"]);
    assert!(run.out.contains("walt:bob/img"), "{}", run.out);
    assert_eq!(server.walt(&["node", "show", "--all", "--names-only"]).out, "n1\nn2\nn3\n");
    let run = server.walt(&["node", "show", "--json"]);
    let nodes: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!((nodes[0]["name"].as_str(), nodes[0]["booted"].as_bool()), (Some("n1"), Some(true)));
}

#[test]
fn results_of_a_reboot_are_worded_and_a_failure_is_not_success() {
    let server = FakeServer::start(|_, _| {
        events(&[
            r#"{"event":"label","text":"Rebooting"}"#,
            r#"{"event":"rebooted","nodes":["n1"]}"#,
            r#"{"event":"something_new","x":1}"#,
            r#"{"event":"reboot_failed","nodes":["n2"],"attempts":[{"method":"soft-reboot","cause":"connection refused"}]}"#,
            DONE,
        ])
    });
    let run = server.walt(&["node", "reboot", "--hard", "n1,n2"]);
    assert_eq!(run.out, "Node n1: rebooted ok.\n");
    assert_eq!(run.err, "Node n2: failed soft-reboot (connection refused)\n");
    assert_eq!(run.status, 1);
    let body = r#"POST /api/v1/nodes/reboot {"set":"n1,n2","hard":true,"confirmed":false}"#;
    assert_eq!(server.requests(), [body]);
}

fn gated(request: &str, body: &str) -> Answer {
    let confirmed = body.contains(r#""confirmed":true"#) || request.contains("confirmed=true");
    if confirmed {
        return if request.starts_with("DELETE") {
            json("{}")
        } else {
            events(&[r#"{"event":"rebooted","nodes":["n1"]}"#, DONE])
        };
    }
    refusal(
        409,
        r#"{"kind":"confirmation_needed","message":"m","gate":{"mode":"owned-or-free","foreign":["n1"]}}"#,
    )
}

#[test]
fn disturbing_others_is_confirmed() {
    let server = FakeServer::start(gated);
    let warning = "Warning: node n1 seems to be used by another user.\n";
    let run = server.walt_with_input(&["node", "reboot", "n1"], "y\n");
    assert_eq!((run.status, run.err.as_str()), (0, warning));
    assert_eq!(run.out, "Are you sure? (y/n): OK.\n\nNode n1: rebooted ok.\n");
    for input in ["n\n", ""] {
        let run = server.walt_with_input(&["node", "reboot", "n1"], input);
        assert_eq!((run.status, run.err), (1, format!("{warning}Aborted.\n")));
        assert!(!run.out.contains("rebooted"));
    }
    let run = server.walt(&["node", "remove", "--yes", "n1"]);
    assert_eq!((run.status, run.out.as_str()), (0, ""));
}

#[test]
fn errors_of_the_server_end_with_one() {
    let server = FakeServer::start(|_, _| not_found());
    for words in [
        vec!["node", "reboot", "x"],
        vec!["node", "wait", "x"],
        vec!["node", "boot", "x", "default"],
        vec!["node", "show", "--boot", "x"],
        vec!["node", "run", "x", "true"],
        vec!["node", "shell", "x"],
        vec!["node", "console", "x"],
        vec!["node", "cp", "/etc/hostname", "x:"],
        vec!["node", "remove", "x"],
        vec!["node", "rename", "x", "yy"],
        vec!["node", "ping", "x"],
        vec!["node", "create", "new-one"],
    ] {
        let run = server.walt(&words);
        assert_eq!(run.status, 1, "{words:?}");
        assert_eq!(run.err, "No device with name 'x' found.\n", "{words:?}");
    }
}

#[test]
fn names_are_checked_before_anything_is_sent() {
    let server = FakeServer::start(|_, _| json("{}"));
    for words in [
        vec!["node", "create", "n_1"],
        vec!["node", "rename", "n1", "1x"],
        vec!["log", "show", "--history", "x"],
        vec!["log", "show", "--history", "full", "("],
        vec!["log", "add-checkpoint", "x"],
    ] {
        let run = server.walt(&words);
        assert_eq!((run.status, run.out.as_str()), (1, ""), "{words:?}");
        assert!(!run.err.is_empty(), "{words:?}");
    }
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn a_stream_that_is_cut_is_a_failure() {
    let server = FakeServer::start(|_, _| events(&[r#"{"event":"waiting","nodes":["n1"]}"#]));
    let run = server.walt(&["node", "wait", "n1"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("cut"), "{}", run.err);
}

#[test]
fn wait_times_out() {
    let server = FakeServer::start(|_, _| {
        events(&[r#"{"event":"error","kind":"timeout","message":"Timeout was reached."}"#])
    });
    let run = server.walt(&["node", "wait", "--timeout", "3", "n1"]);
    assert_eq!((run.status, run.out.as_str(), run.err.as_str()), (1, "Timeout was reached.\n", ""));
    assert!(server.requests()[0].ends_with(r#"{"set":"n1","timeout_s":3}"#));
}

#[test]
fn create() {
    let created =
        format!(r#"{{"event":"node_created","node":{}}}"#, node("n1", "own")).replace('\n', " ");
    let server = FakeServer::start(move |_, _| {
        events(&[r#"{"event":"cloned","image":"img","models":["pc-x86-64"]}"#, &created, DONE])
    });
    let run = server.walt(&["node", "create", "n1", "--firmware", "UEFI"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.out.contains("Node n1 is now booting your image \"img\".\n"), "{}", run.out);
    assert_eq!(server.requests(), [r#"POST /api/v1/nodes {"name":"n1","firmware":"uefi"}"#]);
}

#[test]
fn logs() {
    let server = FakeServer::start(|request, _| match request {
        "GET /api/v1/version" => json(INFO),
        _ => events(&[
            r#"{"event":"record","timestamp_us":1500000,"issuer":"n1","stream":"s","line":"a\u001bb"}"#,
            r#"{"event":"live"}"#,
            DONE,
        ]),
    });
    let run = server.walt(&["log", "show", "--history", "-5m:", "--nodes", "n1"]);
    assert_eq!((run.status, run.out.as_str()), (0, "00:00:01.500000 n1.s -> a\\u{1b}b\n"));
    let query = server.requests().pop().unwrap();
    assert!(query.contains(r#""history":"-5m:","realtime":false,"issuers":"n1""#), "{query}");
    let run = server.walt(&["log", "show", "--history", "full", "--json"]);
    assert_eq!(run.out.lines().count(), 1);
    let run = server.walt(&["log", "show"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("--realtime"));
    let run = server.walt(&["log", "wait", "a"]);
    assert_eq!(run.status, 0);
}

#[test]
fn images_are_cloned_for_a_newcomer() {
    let server = FakeServer::start(|request, _| match request {
        "GET /api/v1/version" => json(INFO),
        "POST /api/v1/images/clone-defaults" => json(r#"[{"image":"pc","models":["pc-x86-64"]}]"#),
        _ => json(
            r#"[{"owner":"waltplatform","name":"pc-default","full_name":"waltplatform/pc-default:latest",
            "set":"default","id":"00","created_ms":0,"models":["pc-x86-64"],"in_use":false,
            "clone_link":"walt:waltplatform/pc-default"}]"#,
        ),
    });
    let run = server.walt(&["image", "show", "--all"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.out.starts_with("Cloned pc, compatible with node model pc-x86-64.\n"));
    assert!(run.out.contains("pc-default  1970-01-01 00:00:00  walt:waltplatform/pc-default\n"));
    assert_eq!(server.walt(&["image", "show", "--all", "--names-only"]).status, 1);
}

#[test]
fn uploads_follow_the_rules_of_cp() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content of the file").unwrap();
    let server = FakeServer::start(|request, _| {
        if request.contains("/select") {
            json(&format!("[{}]", node("n1", "own")))
        } else if request.contains("/path?path=%2Fmissing%2Fx") {
            json(r#"{"path":"/missing/x","kind":"missing","parent":"missing"}"#)
        } else if request.contains("/path?") {
            json(r#"{"path":"/persist","kind":"dir","parent":"dir"}"#)
        } else {
            json("{}")
        }
    });
    let file = folder.path().join("file");
    let file = file.to_str().unwrap();
    let run = server.walt(&["node", "cp", file, "n1:/persist"]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    let sent = server.requests().pop().unwrap();
    assert!(sent.starts_with("PUT /api/v1/nodes/n1/files?path=%2Fpersist&"), "{sent}");
    assert!(sent.contains("content of the file"));
    let run = server.walt(&["node", "cp", file, "n1:/missing/x"]);
    assert_eq!(run.err, "No such file or directory: /missing/x\n");
    assert_eq!(run.status, 1);
    let run = server.walt(&["node", "cp", "/nowhere", "n1:/persist"]);
    assert_eq!((run.status, run.err.as_str()), (1, "No such file or directory: /nowhere\n"));
}

#[test]
fn completion_scripts_are_valid() {
    let script = walt(&["advanced", "dump-bash-autocomplete"], "", None).out;
    let status = std::process::Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(status.success());
    let server = FakeServer::start(|_, _| json(&format!("[{}]", node("n1", "own"))));
    assert_eq!(server.walt(&["__complete", "node", "reboot", "n"]).out, "n1\nn1,\n");
    assert_eq!(walt(&["__complete", "node", "reboot", "n"], "", None).status, 1);
}

#[test]
fn a_reader_that_goes_away_is_not_an_error_message() {
    let script = format!("{} help show log-show | head -n 1", env!("CARGO_BIN_EXE_walt"));
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

const NEEDED: &str = r#"{"kind":"credentials_needed","message":"Registry 'lab' refused.",
    "credentials":{"registry":"lab","refused":REFUSED}}"#;

fn registries() -> Answer {
    json(
        r#"[{"label":"hub","description":"Public","api":"docker-hub","needs_account":true},
        {"label":"lab","description":"Ours","api":"docker-registry-v2","needs_account":true}]"#,
    )
}

#[test]
fn an_account_is_asked_for_until_it_is_good() {
    let server = FakeServer::start(|request, body| match request {
        "GET /api/v1/registries" => registries(),
        _ if body.contains(r#""password":"good""#) => {
            events(&[r#"{"event":"published","clone_link":"lab:me/x"}"#, DONE])
        }
        _ if body.contains("bad") => {
            let error = NEEDED.replace("REFUSED", "true").replace('\n', "");
            events(&[&error.replacen('{', r#"{"event":"error","#, 1)])
        }
        _ => refusal(401, &NEEDED.replace("REFUSED", "false")),
    });
    let words = ["image", "publish", "x", "--registry", "lab"];
    let run = server.walt_with_input(&words, "me\nbad\nme\n\ngood\n");
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.out.ends_with("OK, image was published at:\nlab:me/x\n"), "{}", run.out);
    assert!(!run.out.contains("good") && !run.err.contains("good"), "{run:?}");
    assert!(run.err.contains("Registry 'lab' refused."), "{}", run.err);
    let run = server.walt_with_input(&words, "me\nbad\n");
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.err.ends_with("Aborted.\n"), "{}", run.err);
    let run = server.walt(&["image", "publish", "x"]);
    assert_eq!(run.status, 1);
    assert!(run.out.contains("Registry  Description") && run.out.contains("--registry"));
}

#[test]
fn image_search() {
    let server = FakeServer::start(|_, body| match body.contains(r#""without":["lab"]"#) {
        true => events(&[
            r#"{"event":"found","owner":"bob","name":"x","place":"registry","location":"two",
                "models":["m"],"clone_link":"two:bob/x"}"#
                .replace('\n', "")
                .as_str(),
            r#"{"event":"found","owner":"al","name":"y","place":"walt","location":"walt",
                "models":["m"],"clone_link":"walt:al/y"}"#
                .replace('\n', "")
                .as_str(),
            r#"{"event":"err","text":"The hub is left out.\n"}"#,
            DONE,
        ]),
        false => refusal(401, &NEEDED.replace("REFUSED", "false")),
    });
    let run = server.walt(&["image", "search"]);
    assert_eq!(run.status, 0, "{run:?}");
    let lines: Vec<&str> = run.out.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "User  Image name  Location           Compatibility  Clonable link",
            "----  ----------  -----------------  -------------  -------------",
            "al    y           walt (other user)  m              walt:al/y",
            "bob   x           custom registry    m              two:bob/x",
        ]
    );
    assert!(run.err.contains("'lab' is left out") && run.err.contains("The hub is left out."));
    let run = server.walt(&["image", "search", "--json"]);
    assert!(run.out.contains(r#""clone_link": "walt:al/y""#), "{}", run.out);
    let nothing = FakeServer::start(|_, _| events(&[DONE]));
    let run = nothing.walt(&["image", "search", "zzz"]);
    assert_eq!((run.status, run.out.as_str(), run.err.as_str()), (0, "", "No image was found.\n"));
}

#[test]
fn image_clone() {
    let server = FakeServer::start(|_, body| match body.contains(r#""force":true"#) {
        true => events(&[
            r#"{"event":"progress","what":"Downloading","done":1,"total":2,"unit":"bytes"}"#,
            r#"{"event":"clone_complete","image":"x"}"#,
            r#"{"event":"rebooted","nodes":["n1"]}"#,
            DONE,
        ]),
        false => {
            refusal(409, r#"{"kind":"conflict","message":"m","tip":"walt image clone --force l"}"#)
        }
    });
    let run = server.walt(&["image", "clone", "hub:bob/x"]);
    assert_eq!((run.status, run.err.as_str()), (1, "m (tip: walt image clone --force l)\n"));
    let run = server.walt(&["image", "clone", "--force", "hub:bob/x", "x"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(
        run.out,
        "Image \"x\" was cloned successfully (cf. walt image show).\nNode n1: rebooted ok.\n"
    );
    assert!(server.requests()[1].contains(r#""name":"x""#));
}
