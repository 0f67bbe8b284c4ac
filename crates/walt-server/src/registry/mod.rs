//! Who is on the network: devices, nodes, their names and addresses.

pub mod addresses;
