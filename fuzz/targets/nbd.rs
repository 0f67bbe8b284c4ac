//! Clients of the swap service: negotiation, then requests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_proto::nbd::{NbdRequest, Negotiation, REQUEST_LEN};

fuzz_target!(|bytes: &[u8]| {
    let mut negotiation = Negotiation::new(16);
    negotiation.feed(bytes);
    while let Ok(Some(_)) = negotiation.next_event() {}
    for header in negotiation.into_rest().chunks_exact(REQUEST_LEN) {
        let Ok(header) = header.try_into() else { return };
        if let Ok(request) = NbdRequest::parse(header) {
            if request.fits(1 << 34) {
                assert!(request.offset + u64::from(request.length) <= 1 << 34);
            }
            // What is understood is written as it was read.
            let again = NbdRequest::parse(&request.encode());
            assert_eq!(again.map(|again| format!("{again:?}")).ok(), Some(format!("{request:?}")));
        }
    }
});
