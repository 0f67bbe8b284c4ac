//! Datagrams on the TFTP port, and what is agreed with who sent them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walt_netboot::tftp::fuzz(bytes));
