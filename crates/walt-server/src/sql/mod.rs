//! `walt advanced sql`: questions to the databases in SQL, by any user of this machine.
//!
//! A question is answered by a process of its own ([`worker`]), with limits of the kernel on its memory, its files
//! and its time: whatever it asks for, the server goes on. It can read what [`tables`] lists, and nothing else.

pub mod tables;
pub mod worker;
