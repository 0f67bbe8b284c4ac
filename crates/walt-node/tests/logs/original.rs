//! Under an original server: it knows no other request than those of the original, and never answers.

use std::io::Read;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use super::part::{Daemon, accept, listener, tool};

/// The next log connection, as the original reads it: to a final `CLOSE`, then closed. Others are closed at once.
fn received(listener: &TcpListener) -> String {
    loop {
        let mut stream = accept(listener);
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"\n") && stream.read(&mut byte).unwrap() == 1 {
            said.push(byte[0]);
        }
        if said != b"REQ_NEW_INCOMING_LOGS\n" && said != b"0\n" {
            assert_eq!(said, b"REQ_SPOOLED_LOGS\n");
            continue;
        }
        let mut chunk = [0; 4096];
        while !said.ends_with(b"\nCLOSE\n") {
            let n = stream.read(&mut chunk).unwrap();
            assert_ne!(n, 0, "no CLOSE: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&chunk[..n]);
        }
        return String::from_utf8(said).unwrap();
    }
}

/// What a tool sends; its output and its exit status are checked.
fn sent(words: &[&str], input: &str, output: &str) -> String {
    let (listener, address) = listener();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || received(&listener));
        let done = tool(address, words, input);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(String::from_utf8_lossy(&done.stdout), output);
        server.join().unwrap()
    })
}

#[test]
fn transcripts_of_echo() {
    assert_eq!(
        sent(&["walt-log-echo", "mystream", "  hello \\t  world"], "", ""),
        "REQ_NEW_INCOMING_LOGS\nmystream\nNO_TIMESTAMPS\n  hello \\t  world\nCLOSE\n"
    );
    assert_eq!(
        sent(&["walt-log-echo", "--ts", "1751286000.25", "mystream", "hi"], "", ""),
        "REQ_NEW_INCOMING_LOGS\nmystream\nTIMESTAMPS_INSIDE\n1751286000.25 hi\nCLOSE\n"
    );
    assert_eq!(
        sent(
            &["walt-echo", "s", "a", "b"],
            "",
            "WARNING: walt-echo is deprecated. Use walt-log-echo instead.\n"
        ),
        "REQ_NEW_INCOMING_LOGS\ns\nNO_TIMESTAMPS\na b\nCLOSE\n"
    );
}

#[test]
fn transcripts_of_tee_and_cat() {
    assert_eq!(
        sent(&["walt-log-tee", "s"], " a \\n\n\nCLOSE\nlast", " a \\n\n\nCLOSE\nlast"),
        "REQ_NEW_INCOMING_LOGS\ns\nNO_TIMESTAMPS\n a \\n\n\nCLOSE \nlast\nCLOSE\n"
    );
    for option in ["--ts-provided", "--timestamp", "--ts"] {
        assert_eq!(
            sent(&["walt-log-tee", option, "s"], "1.5 x  y\n2 \n", "x  y\n\n"),
            "REQ_NEW_INCOMING_LOGS\ns\nTIMESTAMPS_INSIDE\n1.5 x  y\n2 \nCLOSE\n"
        );
    }
    assert_eq!(
        sent(&["walt-log-cat", "s"], "x\n", ""),
        "REQ_NEW_INCOMING_LOGS\ns\nNO_TIMESTAMPS\nx\nCLOSE\n"
    );
    let local = sent(&["walt-log-cat", "--ts-local", "s"], "x\n", "");
    let date = local.lines().nth(3).unwrap().strip_suffix(" x").unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((date.parse::<f64>().unwrap() - now).abs() < 120.0, "{local}");
    assert_eq!(date.split_once('.').unwrap().1.len(), 6, "{local}");
}

#[test]
fn wrong_arguments() {
    let (_listener, address) = listener();
    for (words, status) in [
        (&["walt-log-cat"][..], 1),
        (&["walt-log-tee", "--no"], 1),
        (&["walt-log-echo", "s"], 0),
        (&["walt-log-echo", "--ts"], 0),
        (&["walt-log-echo", "--ts", "yesterday", "s", "x"], 1),
        (&["walt-log-monitor"], 1),
        (&["walt-log-monitor", "no-such-command-here"], 127),
    ] {
        let done = tool(address, words, "");
        assert_eq!(done.status.code(), Some(status), "{words:?}");
        assert!(!done.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn the_daemon_sends_what_the_original_one_sends() {
    let (listener, address) = listener();
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), address);
    daemon.write("TSLOG 1751286000.25 exp1 hello world\n");
    assert_eq!(
        received(&listener),
        "REQ_NEW_INCOMING_LOGS\nexp1\nTIMESTAMPS_INSIDE\n1751286000.250000 hello world\nCLOSE\n"
    );
    daemon.write("LOG exp2  two  blanks\nnonsense\n");
    let said = received(&listener);
    let line = said.strip_prefix("REQ_NEW_INCOMING_LOGS\nexp2\nTIMESTAMPS_INSIDE\n").unwrap();
    assert!(line.ends_with("  two  blanks\nCLOSE\n"), "{said}");
    daemon.program("0\nexp3\nTIMESTAMPS_INSIDE\n1751286000.5 x\nCLOSE\n");
    assert_eq!(
        received(&listener),
        "REQ_NEW_INCOMING_LOGS\nexp3\nTIMESTAMPS_INSIDE\n1751286000.500000 x\nCLOSE\n"
    );
    let fifo = daemon.fifo();
    daemon.terminate();
    assert!(!fifo.exists(), "programs would wait for a reader");
}

#[test]
fn lines_of_a_connection_that_was_cut_are_sent_again() {
    let (listener, address) = listener();
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), address);
    daemon.write("TSLOG 1 a one\nTSLOG 2 a two\n");
    let wanted = "REQ_NEW_INCOMING_LOGS\na\nTIMESTAMPS_INSIDE\n1.000000 one\n2.000000 two\nCLOSE\n";
    for _ in 0..2 {
        // It asks for what the original does not know.
        accept(&listener).read_exact(&mut [0; b"REQ_SPOOLED_LOGS\n".len()]).unwrap();
    }
    let mut cut = accept(&listener);
    cut.read_exact(&mut [0; 30]).unwrap();
    // Closed with unread bytes: the node is told by a reset.
    drop(cut);
    assert_eq!(received(&listener), wanted);
    daemon.write("TSLOG 3 a three\n");
    assert!(received(&listener).contains("\n3.000000 three\n"));
}
