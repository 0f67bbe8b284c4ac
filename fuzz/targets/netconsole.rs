//! Netconsole datagrams of several senders: bounded lines, one line a piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_proto::netconsole::{LINE_MAX, Netconsole};

fuzz_target!(|datagrams: Vec<(u8, Vec<u8>)>| {
    let mut console = Netconsole::new(4);
    for (sender, datagram) in datagrams {
        for line in console.feed(&sender, &datagram) {
            assert!(line.len() <= 3 * LINE_MAX && !line.contains('\n'), "{line:?}");
        }
    }
});
