//! Registries: Debian's docker-registry, a hostile one, and podman in the role of the docker daemon.
//!
//! Needs root, podman, skopeo, docker-registry and openssl: without them the tests fail.

#![allow(clippy::unwrap_used)]

mod docker;
mod hostile;
mod jfrog;
mod real;
mod server;
mod support;
