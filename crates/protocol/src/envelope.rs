//! The one body of every failing response: [`Envelope`].

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use crate::code::Code;

/// A code, and a message for people. The message is made of fixed sentences and declared names only: it never holds
/// payload, tokens, paths, statements, or anything of another tenant.
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
    /// What a client branches on.
    pub code: Code,
    /// What a person reads.
    #[schema(value_type = String)]
    pub message: Cow<'static, str>,
}

impl Envelope {
    /// An envelope; see the type for what `message` may hold.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// A request that is not of its method's shape.
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
