//! The body of every failing response: [`Envelope`].

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use crate::code::Code;

/// A code, and a message for people. The message consists of fixed sentences, names of members and legal values. It
/// never contains bytes of artifacts, tokens, paths, SQL statements, or data of another tenant.
///
/// # Examples
/// ```
/// use artifact_store_protocol::{Code, Envelope};
/// let envelope = Envelope::new(Code::NotFound, "there is no such artifact in this scope");
/// let json = serde_json::to_string(&envelope)?;
/// assert_eq!(json, r#"{"code":"not_found","message":"there is no such artifact in this scope"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(description = "The body of every failing response.")]
pub struct Envelope {
    /// The code, on which a client branches.
    pub code: Code,
    /// The message, for people. It may change.
    #[schema(value_type = String)]
    pub message: Cow<'static, str>,
}

impl Envelope {
    /// Creates an envelope. [`Envelope`] says what `message` may contain.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The refusal of a request that is not valid for its method.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Envelope {}
