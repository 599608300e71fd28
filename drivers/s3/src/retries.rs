//! Which failed attempts are repeated, and after which delay: [`RetryQuota`], [`retry_of`]. The rules and the numbers are
//! those of the standard retries of the S3 client.
//!
//! This module must never send a request.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::error::SdkError;

use crate::client::MAX_BACKOFF;
use crate::direct_client::SendError;

/// The longest delay before the second attempt. It doubles with each further attempt.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// The number of tokens of a quota.
const QUOTA_TOKENS: u32 = 500;
/// How many tokens a retry takes.
const RETRY_TOKENS: u32 = 5;
/// How many tokens a retry after a timeout takes.
const TIMEOUT_RETRY_TOKENS: u32 = 10;
/// The codes of responses after which a request may be repeated. A server that fails with another status than 500, 502,
/// 503 or 504 uses one of them.
const RETRYABLE_CODES: [&str; 10] = [
    "SlowDown",
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalError",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "RequestThrottled",
];

/// Why an attempt may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How many tokens the retry takes from the quota.
    pub(crate) tokens: u32,
    /// How long the server wants the client to wait; `None` if it does not say.
    delay: Option<Duration>,
}

/// Whether a failed attempt may be repeated. `None` if it must not be.
pub(crate) fn retry_of(error: &SendError) -> Option<Retry> {
    let retry = |tokens| Some(Retry { tokens, delay: None });
    match error {
        SdkError::TimeoutError(_) => retry(TIMEOUT_RETRY_TOKENS),
        SdkError::ResponseError(_) => retry(RETRY_TOKENS),
        SdkError::DispatchFailure(failure) => {
            let is_transient = failure.is_timeout() || failure.is_io() || failure.as_other().is_some();
            if is_transient { retry(RETRY_TOKENS) } else { None }
        }
        SdkError::ServiceError(context) => {
            let response = context.raw();
            let is_transient = matches!(response.status().as_u16(), 500 | 502..=504)
                || context.err().code().is_some_and(|code| RETRYABLE_CODES.contains(&code));
            // In milliseconds.
            let delay = response.headers().get("x-amz-retry-after").and_then(|text| text.parse().ok());
            is_transient.then(|| Retry { tokens: RETRY_TOKENS, delay: delay.map(Duration::from_millis) })
        }
        _ => None,
    }
}

impl Retry {
    /// The delay after attempt number `attempt`, from 1. It is random, so that clients do not retry at the same moment.
    pub(crate) fn delay(&self, attempt: u32) -> Duration {
        if let Some(delay) = self.delay {
            return delay.min(MAX_BACKOFF);
        }
        let longest = INITIAL_BACKOFF.saturating_mul(1 << (attempt - 1).min(16)).min(MAX_BACKOFF);
        // Without a random number, the delay is the longest one.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// Limits the retries of all requests of a store. If a storage fails for long, each request is sent once, and not as
/// often as the option `max_attempts` allows.
#[derive(Debug)]
pub(crate) struct RetryQuota {
    tokens: AtomicU32,
}

impl RetryQuota {
    pub(crate) const fn new() -> Self {
        Self { tokens: AtomicU32::new(QUOTA_TOKENS) }
    }

    /// Takes tokens for a retry. Returns `false` if there are not enough.
    pub(crate) fn take(&self, tokens: u32) -> bool {
        let less = |current: u32| current.checked_sub(tokens);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Gives tokens back after a success: those of the last retry, or one if there was none.
    pub(crate) fn give_back(&self, tokens: u32) {
        // Almost always the quota is full, and then nothing is written.
        if self.tokens.load(Ordering::Relaxed) < QUOTA_TOKENS {
            let more = |current: u32| Some(current.saturating_add(tokens).min(QUOTA_TOKENS));
            // The closure always returns a value.
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_one() {
        let retry = Retry { tokens: RETRY_TOKENS, delay: None };
        for _ in 0..100 {
            for (attempt, longest) in [(1, 1), (2, 2), (3, 4), (4, 5), (20, 5), (u32::MAX, 5)] {
                assert!(retry.delay(attempt) <= Duration::from_secs(longest), "{attempt}");
            }
        }
        let long = |attempt| (0..100).any(|_| retry.delay(attempt) > Duration::from_secs(2));
        assert!(long(3) && !long(2));
    }

    #[test]
    fn the_delay_that_a_server_asks_for_is_limited() {
        let retry = |delay| Retry { tokens: RETRY_TOKENS, delay: Some(delay) };
        assert_eq!(retry(Duration::from_millis(70)).delay(3), Duration::from_millis(70));
        assert_eq!(retry(Duration::from_hours(1)).delay(1), MAX_BACKOFF);
    }

    #[test]
    fn a_quota_ends_and_is_filled_by_successes() {
        let quota = RetryQuota::new();
        let retries = (0..1000).filter(|_| quota.take(RETRY_TOKENS)).count();
        assert_eq!(retries, 100);
        quota.give_back(1);
        assert!(!quota.take(RETRY_TOKENS));
        quota.give_back(RETRY_TOKENS);
        assert!(quota.take(RETRY_TOKENS));
        quota.give_back(u32::MAX);
        assert_eq!((0..1000).filter(|_| quota.take(TIMEOUT_RETRY_TOKENS)).count(), 50);
    }
}
