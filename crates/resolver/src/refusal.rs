//! A refused request: [`Refusal`], and the only mapping from store errors to codes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use artifact_store_core::{BoxError, ErrorKind, Flag, StoreError};
use artifact_store_protocol::{
    BUS_CLOSED_STATUS, Code, Envelope, LimitSource, SUBSCRIBER_LIMIT_STATUS, SizeLimit,
};

use crate::inspect::Rejection;
use crate::subscriber_limit::ReachedLimit;

/// A refused request: the envelope for the client, and the cause for the operator's log only.
pub struct Refusal {
    envelope: Envelope,
    status: u16,
    cause: Option<BoxError>,
}

impl Refusal {
    /// A refusal with `code`. The client receives `message`. So the message must contain only fixed sentences and names
    /// from the protocol, and nothing of another tenant.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Envelope::new(code, message).into()
    }

    /// Adds a cause for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The artifact does not exist, or the caller may not see it. Both cases have the same refusal, so a caller cannot
    /// distinguish them.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no such artifact in this scope")
    }

    /// The refusal of a new subscriber, because its session, its user, its tenant or the server already has the maximum
    /// number of open subscriptions.
    pub(crate) fn too_many_subscribers(reached: ReachedLimit) -> Self {
        let too_many = |who: &str, limit: usize| {
            Cow::Owned(format!(
                "this {who} has {limit} event streams open, which is the most; close one first"
            ))
        };
        let message = match reached {
            ReachedLimit::Session(limit) => too_many("session", limit),
            ReachedLimit::User(limit) => too_many("user", limit),
            ReachedLimit::Tenant(limit) => too_many("tenant", limit),
            ReachedLimit::Total => {
                "this server has reached its limit of open event streams; connect again in a moment".into()
            }
        };
        Self { status: SUBSCRIBER_LIMIT_STATUS, ..Self::new(Code::RuntimeError, message) }
    }

    /// The refusal of a subscriber because the event bus is closed.
    pub(crate) fn bus_closed() -> Self {
        let message = "the runtime is shutting down; connect again in a moment";
        Self { status: BUS_CLOSED_STATUS, ..Self::new(Code::RuntimeError, message) }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.envelope.code
    }

    /// The HTTP status. It is the status of the code, except for a refused subscription to events. That refusal has the
    /// code `runtime_error` with the status 429 or 503.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body of the response.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The cause, for the log only: it may name paths, hosts and other tenants.
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }

    /// Converts a store's error to a refusal. `operation` is the operation that failed. The match has no wildcard, so a
    /// new kind of error without a code does not compile.
    pub(crate) fn from_store_error(error: StoreError, operation: Operation) -> Self {
        let refusal = match error.kind() {
            ErrorKind::TooLarge { limit } => {
                SizeLimit { bytes: limit, source: LimitSource::Store }.refusal().into()
            }
            ErrorKind::DigestMismatch { .. } => {
                Self::new(Code::InvalidRequest, "the body's SHA-256 is not the one that was announced")
            }
            ErrorKind::Unsupported(Flag::PresignGet) => presign_unsupported(),
            ErrorKind::InvalidArgument => {
                // Only the body of a put is inspected.
                let rejection = if operation == Operation::Put { find_rejection(&error) } else { None };
                match rejection {
                    Some(message) => Self::new(Code::PayloadInvalid, message),
                    None => Self::new(Code::InvalidRequest, operation.invalid_argument_message()),
                }
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
                "the artifact store holds other bytes than were put; report this to its operator",
            ),
            ErrorKind::Closed => {
                Self::new(Code::RuntimeError, "the runtime is shutting down; try again in a moment")
            }
            // No method of the protocol needs these flags. So an `Unsupported` error with one of them is a bug in the
            // runtime.
            ErrorKind::Unsupported(Flag::PresignPut | Flag::Durable | Flag::Shared) | ErrorKind::Backend => {
                Self::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            }
        };
        refusal.with_cause(error)
    }
}

/// The operation that failed. Each operation has a fixed message for an invalid argument. The store's own message is
/// not sent, because it may name a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Read,
    Delete,
    List,
    Presign,
}

impl Operation {
    /// The message for the client if the store refuses an argument of this operation.
    const fn invalid_argument_message(self) -> &'static str {
        match self {
            Self::Put => "the body ended early, stalled, or is not as long as announced; nothing was stored",
            Self::Read | Self::Delete => "the store does not accept these arguments",
            Self::List => {
                "the listing was refused for one of these reasons: the cursor was altered or belongs to another query; \
                 the filter has more than 256 values; a value of the filter is longer than 4096 bytes; the listing \
                 covers more than the store scans at once. List without the cursor, or narrow scope and filter"
            }
            Self::Presign => "this store does not presign for such a long time; request a shorter expiry",
        }
    }
}

/// Returns the message of the [`Rejection`] among the causes of `error`. `None` if no inspection rejected the body.
fn find_rejection(error: &StoreError) -> Option<Cow<'static, str>> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(rejection) = cause.downcast_ref::<Rejection>() {
            return Some(rejection.message().clone());
        }
        next = cause.source();
    }
    None
}

/// The refusal if the store does not presign downloads.
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
