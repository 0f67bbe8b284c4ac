//! Virtual nodes: one QEMU each, supervised, adopted again after a server restart.
