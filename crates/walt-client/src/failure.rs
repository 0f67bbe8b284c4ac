//! How a command ends.

use walt_proto::api::ApiError;

/// End of a command: its exit status, or why it failed.
pub type Outcome = Result<u8, Failure>;

/// Why a command failed. Every failure gives a non-zero exit status.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server said so.
    #[error("{}", sentence(.0))]
    Server(Box<ApiError>),
    /// The server could not be reached, or went away.
    #[error("Network connection to WalT server failed!\n{0}")]
    Connection(String),
    /// The client itself found something wrong.
    #[error("{0}")]
    Plain(String),
    /// The user said no, or ended the input at a question.
    #[error("Aborted.")]
    Aborted,
    /// The user's terminal was closed: nobody is there to answer.
    #[error("The terminal was closed.")]
    HungUp,
    /// Everything has been said already.
    #[error("")]
    Said(u8),
}

impl Failure {
    /// A failure found by the client.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    /// Exit status of `walt`.
    pub fn status(&self) -> u8 {
        match self {
            Self::Server(error) => error.kind.exit_status(),
            Self::Said(status) => (*status).max(1),
            Self::Connection(_) | Self::Plain(_) | Self::Aborted | Self::HungUp => 1,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Server(Box::new(error))
    }
}

/// The message, then the tip if it is not in there already.
fn sentence(error: &ApiError) -> String {
    match &error.tip {
        Some(tip) if !error.message.contains(tip.as_str()) => {
            let separator = if error.message.contains('\n') { "\n" } else { " " };
            format!("{}{separator}(tip: {tip})", error.message)
        }
        _ => error.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use walt_proto::api::ErrorKind;

    #[test]
    fn tips_are_shown_once() {
        let error = ApiError::new(ErrorKind::NotFound, "Error: No such image 'x'.");
        let failure = Failure::from(error.clone().with_tip("walt image show"));
        assert_eq!(failure.to_string(), "Error: No such image 'x'. (tip: walt image show)");
        let said = ApiError::new(ErrorKind::NotFound, "No. (tip: walt image show)");
        let failure = Failure::from(said.with_tip("walt image show"));
        assert_eq!(failure.to_string(), "No. (tip: walt image show)");
    }

    #[test]
    fn no_failure_ends_with_zero() {
        assert_eq!(Failure::Said(0).status(), 1);
        assert_eq!(Failure::Said(7).status(), 7);
        assert_eq!(Failure::from(ApiError::new(ErrorKind::Other, "x")).status(), 1);
    }
}
