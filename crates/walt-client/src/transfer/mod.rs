//! File transfers: which name goes where, and tar streams.

pub mod copy;
pub mod ignore;
pub mod plan;
pub mod receive;
pub mod send;
