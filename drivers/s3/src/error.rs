//! Errors of the client and answers of the store, turned into the store's own: by code and status, never by text.
//!
//! This is the one place where they are mapped. No secret comes through here: of a failed request only its answer is
//! kept.

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

/// More than this between two clocks, and signatures are refused.
const MAX_SKEW_SECONDS: u64 = 15 * 60;

/// Why a request failed, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is no such object.
    NoKey,
    /// The condition did not hold: something stands there.
    Stands,
    /// Another put of this key is under way at this very moment.
    Busy,
    /// There is no such multipart upload, any more or yet.
    NoUpload,
    /// The range lies past the end.
    Range,
    /// The store does not know this request.
    NotImplemented,
    /// It may not be done.
    Denied,
    /// The bytes are not those that were announced.
    Altered,
    /// Anything else that the store answered.
    Refused,
    /// No answer came, or one that says to try later: the request may have been carried out all the same.
    Unknown,
}

/// A request that failed: its meaning, and the error that it becomes.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: Why,
    pub(crate) error: StoreError,
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// What an answer said, for the operator's log.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Cause {}

/// What a failed request means; `doing` says what it was to do.
#[allow(clippy::needless_pass_by_value)] // It ends here: nothing of it but its meaning goes on.
pub(crate) fn of<E>(config: &S3Config, doing: &str, error: SdkError<E, HttpResponse>) -> Failed
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(context) => {
            let (code, message) = (context.err().code(), context.err().message());
            let status = context.raw().status().as_u16();
            let cause = Cause(format!("{status} {}: {}", code.unwrap_or("-"), message.unwrap_or("-")));
            let skewed = matches!(status, 400 | 403) && is_skewed(context.raw().headers().get("date"));
            let (why, error) = answer(config, doing, status, code, skewed);
            Failed { why, error: error.with_source(cause) }
        }
        other => {
            let (why, error) = unanswered(config, doing, other);
            Failed { why, error: error.with_source(Cause(chain(other))) }
        }
    }
}

/// An error and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The texts of an error and of what caused it.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether the store's clock is so far from ours that it refuses signatures.
fn is_skewed(date: Option<&str>) -> bool {
    let theirs = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    theirs.is_some_and(|theirs| theirs.secs().abs_diff(ours) > MAX_SKEW_SECONDS)
}

fn answer(
    config: &S3Config,
    doing: &str,
    status: u16,
    code: Option<&str>,
    skewed: bool,
) -> (Why, StoreError) {
    let (bucket, place, region) = (&config.bucket, config.place(), &config.region);
    if skewed {
        return (Why::Refused, clock(place));
    }
    match (code, status) {
        (Some("NoSuchBucket"), _) => (Why::Refused, no_bucket(config)),
        (Some("NoSuchKey" | "NotFound"), _) => {
            (Why::NoKey, StoreError::backend(format!("{doing}: there is no such object")))
        }
        (Some("NoSuchUpload"), _) => (
            Why::NoUpload,
            StoreError::unavailable(format!(
                "{doing}: the upload was ended by somebody else; is there a rule that removes uploads early?"
            )),
        ),
        (Some("PreconditionFailed"), _) | (_, 412) => {
            (Why::Stands, StoreError::unavailable(format!("{doing}: something stands there already")))
        }
        (Some("ConditionalRequestConflict" | "OperationAborted"), _) | (_, 409) => (
            Why::Busy,
            StoreError::unavailable(format!("{doing}: another request for this key is under way")),
        ),
        (Some("InvalidRange"), _) | (_, 416) => {
            (Why::Range, StoreError::backend(format!("{doing}: the range lies past the end")))
        }
        (Some("InvalidAccessKeyId"), _) => (
            Why::Denied,
            StoreError::backend(format!(
                "{place} does not know the key id; correct access_key_id, or the endpoint"
            )),
        ),
        (Some("SignatureDoesNotMatch"), _) => (
            Why::Denied,
            StoreError::backend(format!(
                "{place} refuses the signature: the secret is not this key id's; correct secret_access_key"
            )),
        ),
        (Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired"), _) => (
            Why::Denied,
            StoreError::backend(format!(
                "the temporary keys for {place} have expired or come with another session_token"
            )),
        ),
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
            Why::Refused,
            StoreError::backend(format!(
                "the bucket '{bucket}' is not in the region '{region}' of {place}; correct the option 'region' (or 'endpoint')"
            )),
        ),
        (Some("RequestTimeTooSkewed" | "RequestExpired"), _) => (Why::Refused, clock(place)),
        (Some("NotImplemented" | "MethodNotAllowed"), _) | (_, 405 | 501) => {
            (Why::NotImplemented, StoreError::backend(format!("{doing}: {place} cannot do it")))
        }
        (
            Some("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch"),
            _,
        ) => (
            Why::Altered,
            StoreError::unavailable(format!("{doing}: the bytes arrived altered, and were refused")),
        ),
        (Some("XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage"), _) | (_, 507) => {
            (Why::Refused, StoreError::unavailable(format!("{doing}: no space is left at {place}")))
        }
        (Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" | "Busy"), _)
        | (_, 408 | 429 | 500..=599) => {
            (Why::Unknown, StoreError::unavailable(format!("{doing}: {place} failed or is too busy")))
        }
        (Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem"), _) | (_, 401 | 403) => (
            Why::Denied,
            StoreError::backend(format!(
                "{doing}: {place} denies it; correct access_key_id and secret_access_key, or let the key do this in the \
                 bucket '{bucket}'"
            )),
        ),
        // The answer to a HEAD has no code.
        (None, 404) => (Why::NoKey, StoreError::backend(format!("{doing}: there is no such object"))),
        (code, status) => (
            Why::Refused,
            StoreError::backend(format!(
                "{doing}: {place} answered {status} {}",
                code.unwrap_or("without a code")
            )),
        ),
    }
}

fn unanswered<E>(config: &S3Config, doing: &str, error: &SdkError<E, HttpResponse>) -> (Why, StoreError)
where
    E: Error + 'static,
{
    let credentials = causes(error).find_map(|error| error.downcast_ref::<CredentialsError>());
    if let Some(error) = credentials {
        return (Why::Denied, no_credentials(error));
    }
    let place = config.place();
    let unavailable = |what: &str| (Why::Unknown, StoreError::unavailable(format!("{doing}: {what}")));
    match error {
        SdkError::TimeoutError(_) => unavailable(&format!("{place} did not answer within request_timeout")),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unavailable(&format!("{place} cannot be reached within connect_timeout"))
        }
        SdkError::DispatchFailure(failure) if failure.is_io() => unavailable(&format!(
            "{place} cannot be reached, or the connection broke; check the option 'endpoint' and the network"
        )),
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            (Why::Refused, StoreError::backend(format!("{doing}: the request to {place} cannot be made")))
        }
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            unavailable(&format!("the connection to {place} broke"))
        }
        _ => (Why::Refused, StoreError::backend(format!("{doing}: the request could not be made"))),
    }
}

fn clock(place: &str) -> StoreError {
    StoreError::backend(format!(
        "{place} refuses the signature because its clock and this machine's differ by more than 15 minutes; set them right"
    ))
}

/// There is no such bucket.
pub(crate) fn no_bucket(config: &S3Config) -> StoreError {
    StoreError::unavailable(format!(
        "there is no bucket '{}' at {}; make it, or correct the option 'bucket'",
        config.bucket,
        config.place()
    ))
}

/// No key could be had.
pub(crate) fn no_credentials(error: &CredentialsError) -> StoreError {
    let failed = match error {
        CredentialsError::CredentialsNotLoaded(_) => StoreError::backend(
            "no key was found in the environment, the profile, the container or the machine; give access_key_id and \
             secret_access_key, or set up the default chain",
        ),
        CredentialsError::InvalidConfiguration(_) => StoreError::backend(
            "the default chain of keys is set up wrongly; correct the profile or the environment",
        ),
        _ => StoreError::unavailable("the default chain could not fetch a key"),
    };
    failed.with_source(Cause(chain(error)))
}

/// A body broke off while it was read.
pub(crate) fn broken_body(config: &S3Config, error: &(dyn Error + 'static)) -> StoreError {
    StoreError::unavailable(format!("the connection to {} broke while an artifact was read", config.place()))
        .with_source(Cause(chain(error)))
}

/// A body stood still while it was read.
pub(crate) fn stalled_body(config: &S3Config) -> StoreError {
    StoreError::unavailable(format!("{} stopped sending for longer than request_timeout", config.place()))
}
