//! Python literals: what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_proto::python::{parse, repr};

fuzz_target!(|text: &str| {
    let Ok(value) = parse(text) else { return };
    let written = repr(&value);
    match parse(&written) {
        // A NaN is not equal to itself; its text is.
        Ok(again) => assert_eq!(repr(&again), written),
        Err(error) => panic!("{written} cannot be read: {error}"),
    }
});
