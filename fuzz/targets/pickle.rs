//! Pickles: nothing but data comes out, however they are cut, and what is read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_proto::pickle::{PickleLimits, PickleReader, write};
use walt_proto::python::{PyValue, repr};

fn read(chunks: &[&[u8]]) -> Result<Option<PyValue>, ()> {
    let mut reader = PickleReader::new(PickleLimits::default());
    let mut value = None;
    for chunk in chunks {
        reader.feed(chunk);
        if value.is_none() {
            value = reader.next_value().map_err(drop)?;
        }
    }
    Ok(value)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let cut = read(&[first, second]);
    // An error may show before the end is there, never after a value.
    if let (Ok(Some(one)), Ok(Some(other))) = (&whole, &cut) {
        assert_eq!(repr(one), repr(other));
    }
    if let Ok(Some(value)) = whole {
        let written = write(&value);
        assert_eq!(read(&[&written]).map(|value| value.as_ref().map(repr)), Ok(Some(repr(&value))));
    }
});
