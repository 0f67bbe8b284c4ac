//! Every wire format, encode and decode: node streams, node RPC, netconsole, and the API's requests and answers.
//!
//! Pure and without input or output: bytes are fed in, events come out, answers are byte vectors. Everything
//! that a peer can make grow is bounded; the limits are constants of each module.

#[cfg(feature = "api")]
pub mod api;
pub mod bootup;
#[cfg(feature = "api")]
pub mod fake_tftp;
pub mod lines;
pub mod log_stream;
pub mod nbd;
pub mod net_service;
pub mod netconsole;
pub mod pickle;
pub mod python;
pub mod request;
pub mod rpc;
pub mod spooled;
