//! Why a call gave no answer.

use std::time::Duration;

use crate::dial::delta::WireError;
use crate::domain::network::Refused;
use crate::resilience::breaker::Outcome;
use crate::resilience::retry::Failure;

/// Why a call gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Causes carry no address: they go to the log.
    #[error("the connection failed")]
    Connect(#[source] reqwest::Error),
    /// Nothing was sent: no agent may be at the address.
    #[error("no agent may be at this address")]
    Refused(#[source] Refused),
    #[error("the request could not be made")]
    Request(#[source] reqwest::Error),
    /// The connection broke before anything of the answer came.
    #[error("there was no answer")]
    Reset(#[source] reqwest::Error),
    #[error("there was no answer within {0:?}")]
    Silent(Duration),
    #[error("the turn's time was used up")]
    Deadline,
    #[error("the answer was status {status} (code {})", code(error))]
    Status {
        status: u16,
        error: WireError,
        /// When the peer wants to be asked again.
        retry_after: Option<Duration>,
    },
    #[error("the answer broke off")]
    BrokeOff(#[source] reqwest::Error),
    #[error("the stream ended without its end mark")]
    Truncated,
    #[error("the answer cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer's headers are longer than {0} bytes")]
    Headers(usize),
    /// An error event, after which nothing said before counts as complete.
    #[error("the stream announced an error")]
    Announced(WireError),
}

impl Error {
    /// What this says about another attempt.
    pub(super) fn verdict(&self) -> Failure {
        match self {
            Self::Connect(_) => Failure::Unsent,
            Self::Reset(_) => Failure::Transient { after: None },
            Self::Status {
                status: 429 | 502..=504,
                retry_after,
                ..
            } => Failure::Transient {
                after: *retry_after,
            },
            _ => Failure::Final,
        }
    }

    /// What this says about the peer. What a caller did wrong says nothing; `out_of_time` is what it says that the turn
    /// ended during the call.
    pub fn outcome(&self, out_of_time: Outcome) -> Outcome {
        let of_status = |status, after| match status {
            429 => Outcome::Limited { after },
            401 | 403 | 404 => Outcome::Denied,
            400..=499 => Outcome::Ignored,
            _ => Outcome::Failure { after },
        };
        match self {
            _ if self.is_filtered() => Outcome::Ignored,
            Self::Deadline => out_of_time,
            Self::Request(_) => Outcome::Ignored,
            Self::Status {
                status,
                retry_after,
                ..
            } => of_status(*status, *retry_after),
            // Such as a request that is too long for a model.
            Self::Announced(error) if error.kind.as_deref() == Some("invalid_request_error") => {
                Outcome::Ignored
            }
            // Some say the status in the error's code.
            Self::Announced(error) => {
                let status = error.code.as_ref().and_then(|code| code.parse().ok());
                of_status(status.unwrap_or(500), None)
            }
            _ => Outcome::Failure { after: None },
        }
    }

    /// True when the same call may go well at another address: nothing of an answer was used, and it was not the
    /// request that was wrong.
    pub fn may_go_elsewhere(&self) -> bool {
        !matches!(self, Self::Deadline | Self::Announced(_))
            && !matches!(
                self.outcome(Outcome::Ignored),
                Outcome::Ignored | Outcome::Denied | Outcome::Success
            )
    }

    /// True when the peer was silent rather than wrong.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Deadline)
    }

    /// True when the peer withheld its answer, which some say by a status and some by an error event.
    pub fn is_filtered(&self) -> bool {
        matches!(self, Self::Status { error, .. } | Self::Announced(error)
            if error.code.as_deref() == Some("content_filter"))
    }

    /// True when what was sent is too long for the model behind the peer.
    pub fn is_too_long(&self) -> bool {
        let (Self::Status { error, .. } | Self::Announced(error)) = self else {
            return false;
        };
        error.code.as_deref() == Some("context_length_exceeded")
            || (error.message.as_deref())
                .is_some_and(|text| text.contains("maximum context length"))
    }

    /// What the peer itself said to people, if it did; cut, since it comes from outside.
    pub fn display_message(&self) -> Option<String> {
        let (Self::Status { error, .. } | Self::Announced(error)) = self else {
            return None;
        };
        Some(error.display_message.as_ref()?.chars().take(500).collect())
    }
}

/// A peer's error code as it may be logged: one that is not a word may be anything that was said.
fn code(error: &WireError) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match error.code.as_deref() {
        None => "none",
        Some(code) if code.len() <= 64 && code.bytes().all(plain) => code,
        Some(_) => "unreadable",
    }
}
