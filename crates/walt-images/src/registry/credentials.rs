//! A user's name and password on a registry: passed with each call, never kept.

use std::fmt;
use std::sync::atomic::{Ordering, compiler_fence};

/// A user's name and password (or access token) on a registry. Not shown by `Debug`, not cloned, overwritten when dropped.
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// What a user typed.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// The user name on the registry.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password or access token.
    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.password).into_bytes();
        bytes.fill(0);
        // The writes must not be optimised away although nothing reads them.
        std::hint::black_box(&bytes);
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let text = format!("{:?}", Credentials::new("alice", "s3cret"));
        assert!(text.contains("alice") && !text.contains("s3cret"), "{text}");
    }
}
