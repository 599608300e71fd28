//! [`SizeLimit`]: the largest artifact that a request may contain, and the setting that raises this limit. This module
//! must never know a store or how a configuration is read.

use crate::code::Code;
use crate::envelope::Envelope;

/// The largest artifact that `artifacts.put` accepts if `protocol.max_request_bytes` is not set, in bytes: 4 MiB.
pub const DEFAULT_MAX_REQUEST_BYTES: u64 = 4 << 20;
/// The largest artifact that the byte plane accepts if neither `protocol.max_upload_bytes` nor
/// `protocol.max_request_bytes` is set, in bytes: 1 GiB.
pub const DEFAULT_MAX_UPLOAD_BYTES: u64 = 1 << 30;

/// What limits the size of an artifact: a setting of the server, or the store. If an artifact is larger, the refusal
/// names this setting or the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSource {
    /// `protocol.max_request_bytes`.
    MaxRequestBytes,
    /// `protocol.max_request_bytes`, if the byte plane accepts larger artifacts. The refusal then tells the client to
    /// use the byte plane.
    MaxRequestBytesOfPut,
    /// `protocol.max_upload_bytes`.
    MaxUploadBytes,
    /// The store. The refusal names `artifacts.options.max_artifact_bytes`.
    Store,
}

/// The largest artifact that a request may contain.
///
/// # Examples
/// ```
/// use artifact_store_protocol::{LimitSource, SizeLimit};
/// let limit = SizeLimit { bytes: 1 << 30, source: LimitSource::MaxUploadBytes };
/// assert!(limit.refusal().message.contains("protocol.max_upload_bytes is 1073741824"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimit {
    /// The number of bytes. An artifact of exactly this size is accepted.
    pub bytes: u64,
    /// Where the number comes from.
    pub source: LimitSource,
}

impl SizeLimit {
    /// The refusal of a larger artifact. The message says which setting raises the limit.
    pub fn refusal(self) -> Envelope {
        let bytes = self.bytes;
        let message = match self.source {
            LimitSource::MaxRequestBytes => format!(
                "the body is larger than this runtime takes (protocol.max_request_bytes is {bytes}); \
                 send a smaller one, or raise that key of the server"
            ),
            LimitSource::MaxRequestBytesOfPut => format!(
                "the body is larger than artifacts.put takes (protocol.max_request_bytes is {bytes}); \
                 upload it with PUT /v1/artifacts, which takes more, or raise that key of the server"
            ),
            LimitSource::MaxUploadBytes => format!(
                "the body is larger than this runtime takes (protocol.max_upload_bytes is {bytes}); \
                 send a smaller one, or raise that key of the server"
            ),
            LimitSource::Store => format!(
                "the body is larger than the store of this runtime takes ({bytes} bytes); \
                 send a smaller one, or raise artifacts.options.max_artifact_bytes of the server"
            ),
        };
        Envelope::new(Code::RequestTooLarge, message)
    }
}
