//! Conditional requests (RFC 9110 §13): entity tags and dates, compared with a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_core::{Digest, Record};
use artifact_store_protocol::Code;
use axum::http::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use data_encoding::HEXLOWER;

use super::response::ErrorResponse;

/// The headers of conditions and ranges. If a request has one of them, the record must be read before the bytes.
const CONDITION_AND_RANGE_HEADERS: [HeaderName; 6] =
    [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE];

/// Returns whether `headers` contains one of [`CONDITION_AND_RANGE_HEADERS`].
pub(super) fn needs_record(headers: &HeaderMap) -> bool {
    CONDITION_AND_RANGE_HEADERS.iter().any(|name| headers.contains_key(name))
}

/// Returns the entity tag: the SHA-256 in quotes. The tag is strong, because the SHA-256 identifies the bytes.
pub(super) fn entity_tag(digest: &Digest) -> String {
    let mut tag = String::with_capacity(66);
    tag.push('"');
    HEXLOWER.encode_append(digest.as_bytes(), &mut tag);
    tag.push('"');
    tag
}

/// Returns the creation time of the record, in whole seconds as in HTTP dates. `now` is the date of the response. If
/// the clock of the store is ahead, the creation time is later than `now`. Then `now` is returned (RFC 9110 §8.8.2.1).
pub(super) fn last_modified(record: &Record, now: SystemTime) -> SystemTime {
    let seconds = u64::try_from(record.created_at.as_micros() / 1_000_000).unwrap_or_default();
    (UNIX_EPOCH + Duration::from_secs(seconds)).min(now)
}

/// The result of a request's conditions. They are evaluated in the order of RFC 9110 §13.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConditionOutcome {
    /// All conditions hold, or there are none.
    Proceed,
    /// The client already has these bytes.
    NotModified,
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD request for `record`.
pub(super) fn evaluate(headers: &HeaderMap, record: &Record, now: SystemTime) -> ConditionOutcome {
    let tag = entity_tag(&record.digest);
    let modified = last_modified(record, now);
    let is_expected = if headers.contains_key(IF_MATCH) {
        any_tag(headers, &IF_MATCH, |candidate| !candidate.is_weak && candidate.quoted == tag)
    } else {
        single_date(headers, &IF_UNMODIFIED_SINCE).is_none_or(|date| modified <= date)
    };
    let is_unchanged = if headers.contains_key(IF_NONE_MATCH) {
        any_tag(headers, &IF_NONE_MATCH, |candidate| candidate.quoted == tag)
    } else {
        single_date(headers, &IF_MODIFIED_SINCE).is_some_and(|date| modified <= date)
    };
    match (is_expected, is_unchanged) {
        (false, _) => ConditionOutcome::Failed,
        (true, true) => ConditionOutcome::NotModified,
        (true, false) => ConditionOutcome::Proceed,
    }
}

/// Returns whether the conditions in the headers allow the upload. The target of an upload, `/v1/artifacts`, has no tag
/// and no date. So `If-Match` never holds, `If-None-Match` always holds, and conditions with dates are ignored.
pub(super) fn allows_upload(headers: &HeaderMap) -> bool {
    !headers.contains_key(IF_MATCH)
}

/// Returns the error for a request with a condition that does not hold. HTTP clients expect the status 412, but no code
/// of the protocol has this status. So the error has the status 412 and the code `invalid_request`.
pub(super) fn precondition_failed() -> ErrorResponse {
    ErrorResponse::new(Code::InvalidRequest, "a condition of the request does not hold; nothing was done")
        .with_status(StatusCode::PRECONDITION_FAILED)
}

/// Returns whether the request's range applies. The range applies if `If-Range` is absent, or is the strong entity tag
/// or the exact date of `record`. A weak tag never matches.
pub(super) fn if_range_matches(headers: &HeaderMap, record: &Record, now: SystemTime) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let text = value.to_str().unwrap_or_default().trim();
    if text.starts_with('"') || text.starts_with("W/") {
        return text == entity_tag(&record.digest);
    }
    parse_date(value).is_some_and(|date| date == last_modified(record, now))
}

/// Parses an HTTP date. `None`: the value is not an HTTP date.
fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// Returns the date in the header `name`. `None`: the header is absent, is sent twice, or is not a date. Such a header
/// is ignored (RFC 9110 §13.1).
fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    parse_date(value)
}

/// Returns whether one of the headers `name` is `*`, which matches any artifact, or has a tag for which `is_match`
/// returns true.
fn any_tag(headers: &HeaderMap, name: &HeaderName, is_match: impl Fn(EntityTag<'_>) -> bool) -> bool {
    headers.get_all(name).iter().any(|list| {
        let list = list.to_str().unwrap_or_default().trim();
        list == "*" || tags(list).any(&is_match)
    })
}

/// An entity tag in a header of a request.
#[derive(Debug, Clone, Copy)]
struct EntityTag<'a> {
    is_weak: bool,
    /// The text of the tag, with its quotes and without `W/`.
    quoted: &'a str,
}

/// Returns the tags of a list. The tags after a malformed tag are ignored.
fn tags(list: &str) -> impl Iterator<Item = EntityTag<'_>> {
    let mut remaining = list;
    std::iter::from_fn(move || {
        remaining = remaining.trim_start_matches([' ', '\t', ',']);
        let is_weak = remaining.starts_with("W/");
        let from_quote = remaining.strip_prefix("W/").unwrap_or(remaining);
        // The length of the text between the quotes, plus the two quotes.
        let tag_length = from_quote.strip_prefix('"')?.find('"')? + 2;
        let (quoted, after_tag) = from_quote.split_at(tag_length);
        remaining = after_tag;
        Some(EntityTag { is_weak, quoted })
    })
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{PutOptions, Scope, Timestamp};

    use super::*;

    fn record() -> Record {
        let scope = Scope::new("t", "u", "s").unwrap();
        // 1994-11-06T08:49:37.5Z
        let created_at = Timestamp::from_micros(784_111_777_500_000);
        Record::new(scope, PutOptions::default(), Digest::of(b"hello"), 5, created_at)
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    /// Half a second after the record was created.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_778)
    }

    /// Evaluates the headers `pairs` for the record of [`record`].
    fn outcome(pairs: &[(HeaderName, &str)]) -> ConditionOutcome {
        evaluate(&headers(pairs), &record(), now())
    }

    #[test]
    fn if_none_match_ignores_whether_a_tag_is_weak() {
        let tag = entity_tag(&record().digest);
        for list in [tag.clone(), format!("W/{tag}"), format!("\"a,b\", {tag}"), "*".to_owned()] {
            assert_eq!(outcome(&[(IF_NONE_MATCH, &list)]), ConditionOutcome::NotModified, "{list}");
        }
    }

    #[test]
    fn a_different_or_malformed_tag_does_not_match() {
        let tag = entity_tag(&record().digest);
        let bare = tag.trim_matches('"').to_owned();
        for list in ["\"a\"".to_owned(), bare, format!("\"a, {tag}"), String::new(), format!("x {tag}")] {
            assert_eq!(outcome(&[(IF_NONE_MATCH, &list)]), ConditionOutcome::Proceed, "{list}");
            assert_eq!(outcome(&[(IF_MATCH, &list)]), ConditionOutcome::Failed, "{list}");
        }
    }

    #[test]
    fn if_modified_since_counts_only_without_if_none_match_and_if_it_is_one_date() {
        let same = (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(outcome(std::slice::from_ref(&same)), ConditionOutcome::NotModified);
        assert_eq!(outcome(&[same.clone(), same.clone()]), ConditionOutcome::Proceed);
        assert_eq!(outcome(&[same, (IF_NONE_MATCH, "\"a\"")]), ConditionOutcome::Proceed);
        assert_eq!(
            outcome(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]),
            ConditionOutcome::Proceed
        );
        assert_eq!(outcome(&[(IF_MODIFIED_SINCE, "yesterday")]), ConditionOutcome::Proceed);
    }

    #[test]
    fn if_match_holds_for_the_strong_tag_or_a_star() {
        let tag = entity_tag(&record().digest);
        for list in [tag.clone(), format!("\"a\", W/\"b\" , {tag}"), "*".to_owned()] {
            assert_eq!(outcome(&[(IF_MATCH, &list)]), ConditionOutcome::Proceed, "{list}");
        }
        assert_eq!(outcome(&[(IF_MATCH, "\"a\""), (IF_MATCH, &tag)]), ConditionOutcome::Proceed);
        assert_eq!(outcome(&[(IF_MATCH, &format!("W/{tag}"))]), ConditionOutcome::Failed);
    }

    #[test]
    fn if_unmodified_since_counts_only_without_if_match_and_if_it_is_a_date() {
        let (earlier, same) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, same)]), ConditionOutcome::Proceed);
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, earlier)]), ConditionOutcome::Failed);
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, earlier), (IF_MATCH, "*")]), ConditionOutcome::Proceed);
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, "yesterday")]), ConditionOutcome::Proceed);
    }

    #[test]
    fn if_match_is_evaluated_before_if_none_match() {
        let tag = entity_tag(&record().digest);
        assert_eq!(outcome(&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, &tag)]), ConditionOutcome::Failed);
        assert_eq!(outcome(&[(IF_MATCH, &tag), (IF_NONE_MATCH, &tag)]), ConditionOutcome::NotModified);
    }

    #[test]
    fn a_record_with_a_time_in_the_future_counts_as_modified_now() {
        let before_creation = UNIX_EPOCH + Duration::from_secs(784_111_000);
        assert_eq!(last_modified(&record(), before_creation), before_creation);
        assert_eq!(last_modified(&record(), now()), UNIX_EPOCH + Duration::from_secs(784_111_777));
    }

    #[test]
    fn an_upload_is_refused_with_if_match_and_allowed_with_other_conditions() {
        assert!(allows_upload(&headers(&[
            (IF_NONE_MATCH, "*"),
            (IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")
        ])));
        for list in ["*", "\"a\"", ""] {
            assert!(!allows_upload(&headers(&[(IF_MATCH, list)])), "{list}");
        }
    }

    #[test]
    fn if_range_matches_only_the_strong_tag_and_the_exact_date() {
        let tag = entity_tag(&record().digest);
        let holds = |value: &str| if_range_matches(&headers(&[(IF_RANGE, value)]), &record(), now());
        assert!(if_range_matches(&HeaderMap::new(), &record(), now()));
        assert!(holds(&tag));
        assert!(holds("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!holds(&format!("W/{tag}")));
        assert!(!holds("\"a\""));
        assert!(!holds("Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!holds("nonsense"));
    }
}
