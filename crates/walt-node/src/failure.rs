//! How a command ends.

/// End of a command: its exit status, or why it failed.
pub type Outcome = Result<u8, Failure>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments are not of the command's form: its usage is printed, and this is the exit status.
    #[error("wrong arguments")]
    Usage(u8),
    /// What went wrong, and what to do about it.
    #[error("{0}")]
    Plain(String),
}

impl Failure {
    /// A failure told by a sentence.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(status) => *status,
            Self::Plain(_) => 1,
        }
    }
}
