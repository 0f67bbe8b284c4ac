//! Every wire format, encode and decode: node streams, node RPC, netconsole, and the API's requests and answers.

pub mod api;
