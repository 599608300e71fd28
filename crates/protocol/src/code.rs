//! The registry of the codes, with one descriptor for each code.
//!
//! The server, the documentation and the tests all read codes and statuses from here. This module must never know the
//! cause of an error.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($name:ident = $wire_name:literal, $status:literal, $policy:ident, $description:literal, $advice:literal;)+) => {
        /// A code of the protocol, on which a client branches. The set is closed. Messages are for people and may
        /// change.
        ///
        /// # Examples
        /// ```
        /// use artifact_store_protocol::Code;
        /// assert_eq!(Code::ALL.len(), 11);
        /// assert_eq!(Code::PresignUnsupported.status(), 501);
        /// assert_eq!("not_found".parse(), Ok(Code::NotFound));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(
                #[doc = $description]
                #[allow(clippy::doc_markdown)] // The text is also part of the API documentation.
                $name,
            )+
        }

        impl Code {
            /// Every code, in the order of the registry.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The descriptor of the code.
            pub const fn descriptor(self) -> &'static CodeDescriptor {
                match self {
                    $(Code::$name => {
                        const DESCRIPTOR: CodeDescriptor = CodeDescriptor {
                            code: Code::$name,
                            name: $wire_name,
                            status: $status,
                            retry_policy: RetryPolicy::$policy,
                            description: $description,
                            retry_advice: $advice,
                        };
                        &DESCRIPTOR
                    })+
                }
            }
        }
    };
}

/// Whether the same request may succeed on a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPolicy {
    /// No; the request must change first.
    Never,
    /// Yes, with a fresh token.
    FreshToken,
    /// Yes, with backoff.
    Backoff,
}

/// The properties of a code: an entry of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeDescriptor {
    /// The code.
    pub code: Code,
    /// The name of the code on the wire.
    pub name: &'static str,
    /// The HTTP status of the code.
    pub status: u16,
    /// Whether a client may retry.
    pub retry_policy: RetryPolicy,
    /// When a server responds with the code.
    pub description: &'static str,
    /// What a client should do, in words.
    pub retry_advice: &'static str,
}

codes! {
    AuthRejected = "auth_rejected", 401, FreshToken,
        "A bearer token was present but failed verification: malformed, an algorithm outside the asymmetric allowlist, bad signature, expired or not yet valid, unknown kid, audience or issuer mismatch.",
        "Only after obtaining a fresh valid token.";
    IdentityRequired = "identity_required", 401, Never,
        "The request resolved no complete (tenant, user, session) identity scope: a missing bearer, a missing session (no X-Harbor-Session header and no default claim), or an identity in header or body that contradicts the verified token. Identity is mandatory and fails closed.",
        "No: attach a token and a session first.";
    IdentityScopeRequired = "identity_scope_required", 403, Never,
        "The request is authenticated and identified, but the requested cross-tenant fan-in or admin verb needs a verified scope claim that the token does not carry: admin, console:fleet to list and to hear, artifacts:delete to delete in the own session.",
        "No: re-authenticate with a token that carries the scope.";
    InvalidRequest = "invalid_request", 400, Never,
        "The request was structurally malformed: undecodable JSON, a wrong shape for the method, a member or parameter it does not declare, a value outside its bounds, bytes that do not match their announced digest.",
        "No: fix the request's shape first.";
    NotFound = "not_found", 404, Never,
        "The request's target does not exist in the caller's scope. Existence across tenants is never revealed: a foreign id is indistinguishable from a missing one.",
        "No: the target is gone or never existed for you.";
    PayloadInvalid = "payload_invalid", 422, Never,
        "A control payload violated a bound (depth > 6, > 64 keys, > 50 list items, a string > 4096 characters, > 16 KiB in total), carried an unsupported leaf type, or was refused by the runtime's inspection.",
        "No: shrink or restructure the payload.";
    PresignUnsupported = "presign_unsupported", 501, Never,
        "An artifacts.get_ref request reached a store without presigned URLs (the inmem, fs, sqlite and postgres drivers; gcs and azure if nothing signs). The resolver fails loud instead of silently streaming bytes.",
        "No: the configured driver cannot satisfy it; use one that presigns (s3; gcs and azure with the option presign and credentials that sign), or download through GET /v1/artifacts/{id}.";
    RequestTooLarge = "request_too_large", 413, Never,
        "A body exceeded the bound of its plane: protocol.max_request_bytes, protocol.max_upload_bytes of the byte plane, or the store's own. The message names the key to raise. The upload is refused loudly, never truncated.",
        "No: shrink the payload or raise the operator-side bound.";
    RuntimeError = "runtime_error", 500, Backoff,
        "An unclassified failure on the runtime's side: the catch-all. Also used on the event stream for the subscriber limit (429) and a closed bus (503).",
        "Yes, with backoff: the request's shape is not the problem.";
    ScopeMismatch = "scope_mismatch", 403, Never,
        "A mutation in another tenant was attempted without admin.",
        "No: the operation needs a higher scope.";
    UnknownMethod = "unknown_method", 404, Never,
        "The method, path or verb is not one that this runtime serves.",
        "No: check the method's name and the runtime's capabilities (runtime.info).";
}

/// The status of `runtime_error` if a limit on subscribers, connections or requests is reached.
pub const SUBSCRIBER_LIMIT_STATUS: u16 = 429;
/// The status of `runtime_error` on the event stream if the bus is closed.
pub const BUS_CLOSED_STATUS: u16 = 503;

impl Code {
    /// The name of the code on the wire.
    pub const fn as_str(self) -> &'static str {
        self.descriptor().name
    }

    /// The HTTP status of the code.
    pub const fn status(self) -> u16 {
        self.descriptor().status
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of parsing a text that is not the name of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCode;

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a code of the protocol")
    }
}

impl std::error::Error for UnknownCode {}

impl FromStr for Code {
    type Err = UnknownCode;
    fn from_str(name: &str) -> Result<Self, UnknownCode> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name).ok_or(UnknownCode)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
