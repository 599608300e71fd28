//! Maps errors of the S3 client to [`StoreError`], by the response's code and status and never by its text.
//!
//! No other module maps these errors. An error contains the code and the message of the response, or the text of the
//! client's error. It contains no secret.

use std::error::Error;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use artifact_store_core::StoreError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use crate::config::S3Config;
use crate::layout::Layout;

/// Servers refuse a signature if their clock differs from the local clock by more than 15 minutes.
const MAX_CLOCK_SKEW_SECONDS: u64 = 15 * 60;

/// Why a request failed. There is one kind for each cause that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestErrorKind {
    /// The object does not exist.
    NoSuchKey,
    /// A condition of the request failed. The condition is `If-None-Match`, which fails if an object exists at the key,
    /// or `x-amz-copy-source-if-match`, which fails if the copied object was replaced.
    PreconditionFailed,
    /// Another request for this key is in progress.
    Conflict,
    /// The multipart upload does not exist: it has ended or never began.
    NoSuchUpload,
    /// The range starts past the end of the object.
    InvalidRange,
    /// The server does not implement this request.
    NotImplemented,
    /// The access key lacks the permission, the server rejects the key itself, or no key could be fetched.
    AccessDenied,
    /// The body does not match the announced checksum.
    BadDigest,
    /// Every other error response.
    Rejected,
    /// No response arrived, or the server failed or is too busy. The server may have carried out the request.
    OutcomeUnknown,
}

/// A failed request: its kind, and the [`StoreError`] for the caller.
#[derive(Debug)]
pub(crate) struct RequestError {
    pub(crate) kind: RequestErrorKind,
    pub(crate) error: StoreError,
}

impl From<RequestError> for StoreError {
    fn from(failed: RequestError) -> Self {
        failed.error
    }
}

/// The text of a response or client error, for the operator's log.
#[derive(Debug)]
struct ErrorDetail(String);

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ErrorDetail {}

/// What a request does, in words for errors, and the IAM action that the request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    description: &'static str,
    action: &'static str,
    resource: ResourceKind,
}

/// The resource that an IAM action is granted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResourceKind {
    Bucket,
    Objects,
}

impl Operation {
    /// A request for an object. It needs `action` on the objects below the prefix.
    pub(crate) const fn object(description: &'static str, action: &'static str) -> Self {
        Self { description, action, resource: ResourceKind::Objects }
    }

    /// A request for the bucket. It needs `action` on the bucket.
    pub(crate) const fn bucket(description: &'static str, action: &'static str) -> Self {
        Self { description, action, resource: ResourceKind::Bucket }
    }

    /// A request that reads an object.
    pub(crate) const fn read(description: &'static str) -> Self {
        Self::object(description, "s3:GetObject")
    }

    /// A request that writes an object.
    pub(crate) const fn write(description: &'static str) -> Self {
        Self::object(description, "s3:PutObject")
    }

    /// A request that deletes an object.
    pub(crate) const fn delete(description: &'static str) -> Self {
        Self::object(description, "s3:DeleteObject")
    }

    /// The permissions that the request needs, as text for the error if the server has denied the request.
    fn missing_permission(self, config: &S3Config) -> String {
        let Self { action, resource, .. } = self;
        let bucket = &config.bucket;
        let resource = match resource {
            ResourceKind::Bucket => format!("arn:aws:s3:::{bucket}"),
            ResourceKind::Objects => {
                let layout = Layout::new(&config.prefix);
                format!("arn:aws:s3:::{bucket}/{}*", layout.prefix())
            }
        };
        let permission = format!("the key needs {action} on {resource}");
        if action == "s3:GetObject" {
            // Without the permission to list, a server answers "access denied" for a missing object.
            return format!(
                "{permission}, and s3:ListBucket on arn:aws:s3:::{bucket}, without which a missing object is answered as denied"
            );
        }
        permission
    }
}

/// Maps an error of the S3 client to a [`RequestError`]. `operation` is the request that failed.
#[allow(clippy::needless_pass_by_value)] // Callers do not need the error afterwards.
pub(crate) fn from_sdk_error<E>(
    config: &S3Config,
    operation: Operation,
    error: SdkError<E, HttpResponse>,
) -> RequestError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(context) => {
            let (code, message) = (context.err().code(), context.err().message());
            let status = context.raw().status().as_u16();
            let detail = ErrorDetail(format!("{status} {}: {}", code.unwrap_or("-"), message.unwrap_or("-")));
            // If the clocks differ, the error is about the clocks, whatever the code of the response is.
            let (kind, error) =
                if matches!(status, 400 | 403) && is_clock_skewed(context.raw().headers().get("date")) {
                    (RequestErrorKind::Rejected, clock_skew_error(config.server_name()))
                } else {
                    from_response(config, operation, status, code)
                };
            RequestError { kind, error: error.with_source(detail) }
        }
        other => {
            let (kind, error) = from_missing_response(config, operation.description, other);
            RequestError { kind, error: error.with_source(ErrorDetail(chain_text(other))) }
        }
    }
}

/// The error itself, then its source, then the source of this source, and so on.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The texts of an error and of its sources, joined by colons.
fn chain_text(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether the server's clock differs so much from the local clock that the server refuses signatures. `date` is the
/// header `Date` of the response; without this header, the result is `false`.
fn is_clock_skewed(date: Option<&str>) -> bool {
    let server_time = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let local_seconds =
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    server_time.is_some_and(|time| time.secs().abs_diff(local_seconds) > MAX_CLOCK_SKEW_SECONDS)
}

/// The kind of an error response, and the error for the caller. `code` is the error code of the protocol; `None` if the
/// response has no code.
fn from_response(
    config: &S3Config,
    operation: Operation,
    status: u16,
    code: Option<&str>,
) -> (RequestErrorKind, StoreError) {
    let (bucket, server, region) = (&config.bucket, config.server_name(), &config.region);
    let doing = operation.description;
    match (code, status) {
        (Some("NoSuchBucket"), _) => (RequestErrorKind::Rejected, no_such_bucket(config)),
        // The response to a HEAD request has no code.
        (Some("NoSuchKey" | "NotFound"), _) | (None, 404) => {
            (RequestErrorKind::NoSuchKey, StoreError::backend(format!("{doing}: the object does not exist")))
        }
        (Some("NoSuchUpload"), _) => (
            RequestErrorKind::NoSuchUpload,
            StoreError::unavailable(format!(
                "{doing}: the upload was ended by somebody else; is there a rule that removes uploads early?"
            )),
        ),
        (Some("PreconditionFailed"), _) | (_, 412) => (
            RequestErrorKind::PreconditionFailed,
            StoreError::unavailable(format!("{doing}: an object already exists at the key")),
        ),
        (Some("ConditionalRequestConflict" | "OperationAborted"), _) | (_, 409) => (
            RequestErrorKind::Conflict,
            StoreError::unavailable(format!("{doing}: another request for this key is in progress")),
        ),
        (Some("InvalidRange"), _) | (_, 416) => (
            RequestErrorKind::InvalidRange,
            StoreError::backend(format!("{doing}: the range starts past the end")),
        ),
        (
            Some(
                code @ ("InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "TokenRefreshRequired"),
            ),
            _,
        ) => (RequestErrorKind::AccessDenied, rejected_credentials(server, code)),
        (
            Some(
                "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "TemporaryRedirect"
                | "IllegalLocationConstraintException",
            ),
            _,
        )
        | (_, 301 | 307) => (
            RequestErrorKind::Rejected,
            StoreError::backend(format!("the bucket '{bucket}' is not in the region '{region}' of {server}"))
                .with_option("region")
                .with_option("endpoint"),
        ),
        (Some("RequestTimeTooSkewed" | "RequestExpired"), _) => {
            (RequestErrorKind::Rejected, clock_skew_error(server))
        }
        (Some("NotImplemented" | "MethodNotAllowed"), _) | (_, 405 | 501) => (
            RequestErrorKind::NotImplemented,
            StoreError::backend(format!("{doing}: {server} does not support this request")),
        ),
        (
            Some("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch"),
            _,
        ) => (
            RequestErrorKind::BadDigest,
            StoreError::unavailable(format!("{doing}: the bytes were altered on the way and refused")),
        ),
        (Some("XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage"), _) | (_, 507) => (
            RequestErrorKind::Rejected,
            StoreError::unavailable(format!("{doing}: no space is left at {server}")),
        ),
        // The statuses 501 and 507 have their own arms above.
        (Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" | "Busy"), _)
        | (_, 408 | 429 | 500..=599) => (
            RequestErrorKind::OutcomeUnknown,
            StoreError::unavailable(format!("{doing}: {server} failed or is too busy")),
        ),
        (Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem"), _) | (_, 401 | 403) => (
            RequestErrorKind::AccessDenied,
            StoreError::backend(format!(
                "{doing}: {server} denies access; {}. Check that this is the intended key",
                operation.missing_permission(config)
            ))
            .with_option("access_key_id")
            .with_option("secret_access_key"),
        ),
        (code, status) => (
            RequestErrorKind::Rejected,
            StoreError::backend(format!(
                "{doing}: {server} answered {status} {}",
                code.unwrap_or("without a code")
            )),
        ),
    }
}

/// The error if the server rejects the credentials themselves, whatever the request is.
fn rejected_credentials(server: &str, code: &str) -> StoreError {
    match code {
        "InvalidAccessKeyId" => StoreError::backend(format!("{server} does not know the access key id"))
            .with_option("access_key_id")
            .with_option("endpoint"),
        "SignatureDoesNotMatch" => StoreError::backend(format!(
            "{server} refuses the signature: the secret does not belong to this access key id"
        ))
        .with_option("secret_access_key"),
        _ => StoreError::backend(format!(
            "the temporary keys for {server} have expired, or belong to another session token"
        ))
        .with_option("session_token"),
    }
}

/// The kind and the error for a request that got no valid response. `doing` describes the request.
fn from_missing_response<E>(
    config: &S3Config,
    doing: &str,
    error: &SdkError<E, HttpResponse>,
) -> (RequestErrorKind, StoreError)
where
    E: Error + 'static,
{
    // The client fetches the access key before it sends the request. This may have failed.
    if let Some(error) = chain(error).find_map(|error| error.downcast_ref::<CredentialsError>()) {
        return (RequestErrorKind::AccessDenied, credentials_error(error));
    }
    let server = config.server_name();
    let unavailable =
        |what: &str| (RequestErrorKind::OutcomeUnknown, StoreError::unavailable(format!("{doing}: {what}")));
    let unreachable = |what: &str| {
        let error = StoreError::unavailable(format!("{doing}: {server} {what}")).with_option("endpoint");
        (RequestErrorKind::OutcomeUnknown, error)
    };
    match error {
        SdkError::TimeoutError(_) => unavailable(&format!("{server} did not answer within request_timeout")),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unreachable("cannot be reached within connect_timeout")
        }
        SdkError::DispatchFailure(failure) if failure.is_io() => {
            unreachable("cannot be reached, or the connection broke; check the network between")
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => (
            RequestErrorKind::Rejected,
            StoreError::backend(format!("{doing}: the request to {server} cannot be built")),
        ),
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            unavailable(&format!("the connection to {server} broke"))
        }
        _ => (
            RequestErrorKind::Rejected,
            StoreError::backend(format!("{doing}: the request could not be built")),
        ),
    }
}

/// The error if the clocks of the server and of this machine differ too much.
fn clock_skew_error(server: &str) -> StoreError {
    StoreError::backend(format!(
        "{server} refuses the signature because its clock and this machine's differ by more than 15 minutes; correct the clocks"
    ))
}

/// The error for a bucket that does not exist.
pub(crate) fn no_such_bucket(config: &S3Config) -> StoreError {
    let detail = format!(
        "there is no bucket '{}' at {}; create it, or name another one",
        config.bucket,
        config.server_name()
    );
    StoreError::unavailable(detail).with_option("bucket")
}

/// The error for a credentials provider that returned no access key.
pub(crate) fn credentials_error(error: &CredentialsError) -> StoreError {
    let failed = match error {
        CredentialsError::CredentialsNotLoaded(_) => StoreError::backend(
            "no access key was found in the environment, the profile, the container or the machine: give its id and its secret, or \
             set up the default chain, for example by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
        .with_option("access_key_id")
        .with_option("secret_access_key"),
        CredentialsError::InvalidConfiguration(_) => StoreError::backend(
            "the default credentials chain is misconfigured; correct the profile or the environment",
        ),
        _ => StoreError::unavailable("the default credentials chain could not fetch a key"),
    };
    failed.with_source(ErrorDetail(chain_text(error)))
}

/// The error for a connection that broke while a response body was read.
pub(crate) fn body_read_error(config: &S3Config, error: &(dyn Error + 'static)) -> StoreError {
    StoreError::unavailable(format!(
        "the connection to {} broke while an artifact was read",
        config.server_name()
    ))
    .with_source(ErrorDetail(chain_text(error)))
}

/// The error if no bytes of a response body arrived within `request_timeout`.
pub(crate) fn body_timeout(config: &S3Config) -> StoreError {
    StoreError::unavailable(format!(
        "{} stopped sending for longer than request_timeout",
        config.server_name()
    ))
}
