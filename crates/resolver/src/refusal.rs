//! Why a request was refused: [`Refusal`], and the one map from a store's errors to the codes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use artifact_store_core::{BoxError, ErrorKind, Flag, StoreError};
use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Envelope, SUBSCRIBER_LIMIT_STATUS, too_large};

use crate::bus::ReachedBound;
use crate::inspect::Rejection;

/// A refused request: what its sender is told, and the cause for the operator's log alone.
pub struct Refusal {
    envelope: Envelope,
    status: u16,
    cause: Option<BoxError>,
}

impl Refusal {
    /// A refusal with `code`. `message` is sent: fixed sentences and declared names only.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Envelope::new(code, message).into()
    }

    /// The same with a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What is not there, or not for this caller: one refusal, so that the two cannot be told apart.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no such artifact in this scope")
    }

    pub(crate) fn too_many_subscribers(bound: ReachedBound) -> Self {
        let of_one = |who: &str, limit: usize| {
            Cow::Owned(format!(
                "this {who} has {limit} event streams open, which is the most; close one first"
            ))
        };
        let message = match bound {
            ReachedBound::Session(limit) => of_one("session", limit),
            ReachedBound::User(limit) => of_one("user", limit),
            ReachedBound::Tenant(limit) => of_one("tenant", limit),
            ReachedBound::All => {
                "this server has as many event streams open as it may have; connect again in a moment".into()
            }
        };
        Self { status: SUBSCRIBER_LIMIT_STATUS, ..Self::new(Code::RuntimeError, message) }
    }

    pub(crate) fn bus_closed() -> Self {
        let message = "the runtime is shutting down; connect again in a moment";
        Self { status: BUS_CLOSED_STATUS, ..Self::new(Code::RuntimeError, message) }
    }

    /// What a client branches on.
    pub fn code(&self) -> Code {
        self.envelope.code
    }

    /// The HTTP status: the code's, but for `runtime_error` on the event stream.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body to answer with.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The cause, which may name paths, hosts and other tenants: for the log only.
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }

    /// The refusal that a store's error becomes: the one map, exhaustive on purpose.
    pub(crate) fn of_store(error: StoreError, during: During) -> Self {
        let refusal = match error.kind() {
            ErrorKind::TooLarge { limit } => too_large(limit).into(),
            ErrorKind::DigestMismatch { .. } => {
                Self::new(Code::InvalidRequest, "the body's SHA-256 is not the one that was announced")
            }
            ErrorKind::Unsupported(Flag::PresignGet) => presign_unsupported(),
            ErrorKind::InvalidArgument => {
                return match (during, rejection(&error)) {
                    (During::Put, Some(message)) => Self::new(Code::PayloadInvalid, message).because(error),
                    (during, _) => Self::new(Code::InvalidRequest, during.invalid()).because(error),
                };
            }
            ErrorKind::Conflict => Self::new(
                Code::InvalidRequest,
                "the id of these bytes is taken by other bytes in this scope; put them under another namespace",
            ),
            ErrorKind::Unavailable => Self::new(
                Code::RuntimeError,
                "the artifact store cannot answer at the moment; try again after a pause",
            ),
            ErrorKind::Corrupt => Self::new(
                Code::RuntimeError,
                "the artifact store holds other bytes than were put; its operator has to look",
            ),
            ErrorKind::Closed => {
                Self::new(Code::RuntimeError, "the runtime is shutting down; try again in a moment")
            }
            // No method asks for these flags, so that one did is a mistake of this runtime.
            ErrorKind::Unsupported(Flag::PresignPut | Flag::Durable | Flag::Shared) | ErrorKind::Backend => {
                Self::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            }
        };
        refusal.because(error)
    }
}

/// What a method was doing, for the sentence of a caller's mistake: the store's own text may name a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    Put,
    Read,
    Delete,
    List,
    Presign,
}

impl During {
    const fn invalid(self) -> &'static str {
        match self {
            Self::Put => "the body broke off, stalled, or is not as long as announced; nothing was stored",
            Self::Read | Self::Delete => "the store cannot be asked so",
            Self::List => {
                "the listing was refused: its cursor is altered or of another query, its filter holds more than 256 values \
                 or one of more than 4096 bytes, or it covers more than the store scans at once; list without the cursor, or \
                 narrow scope and filter"
            }
            Self::Presign => "this store does not presign for so long; ask for less",
        }
    }
}

/// What an inspection said, where it was one that ended the body.
fn rejection(error: &StoreError) -> Option<Cow<'static, str>> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rejection) = error.downcast_ref::<Rejection>() {
            return Some(rejection.message().clone());
        }
        cause = error.source();
    }
    None
}

pub(crate) fn presign_unsupported() -> Refusal {
    Refusal::new(
        Code::PresignUnsupported,
        "this runtime's store has no presigned URLs; download through GET /v1/artifacts/{id}",
    )
}

impl From<Envelope> for Refusal {
    fn from(envelope: Envelope) -> Self {
        Self { status: envelope.code.status(), envelope, cause: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.envelope.fmt(f)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("envelope", &self.envelope)
            .field("status", &self.status)
            .field("cause", &self.cause)
            .finish()
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause()
    }
}
