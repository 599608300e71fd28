//! Conditional requests (RFC 9110 §13): entity tags and dates held against a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store::{Digest, Record};
use artifact_store_protocol::Code;
use axum::http::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use axum::http::{HeaderMap, StatusCode};

use super::answer::Refused;

/// The headers that need the record before the bytes are asked for.
const CONDITIONS: [HeaderName; 6] =
    [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE];

/// Whether the answer hangs on more than the artifact.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// The entity tag: the SHA-256 in quotes. It is strong, because it is the bytes'.
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// When the record was made, in whole seconds, as HTTP's dates are; never later than `now`, the date of the answer, whatever
/// clock the record was made by (RFC 9110 §8.8.2.1).
pub(super) fn last_modified(record: &Record, now: SystemTime) -> SystemTime {
    let seconds = u64::try_from(record.created_at.as_micros() / 1_000_000).unwrap_or_default();
    (UNIX_EPOCH + Duration::from_secs(seconds)).min(now)
}

/// What a request's conditions come to, in the order of RFC 9110 §13.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// They hold, as far as there are any.
    Serve,
    /// The client has these bytes already.
    NotModified,
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    Failed,
}

/// Holds the conditions of a GET or HEAD against `record`.
pub(super) fn evaluate(headers: &HeaderMap, record: &Record, now: SystemTime) -> Outcome {
    let tag = entity_tag(&record.digest);
    let modified = last_modified(record, now);
    let expected = if headers.contains_key(IF_MATCH) {
        matches(headers, &IF_MATCH, |is_weak, known| !is_weak && known == tag)
    } else {
        only_date(headers, &IF_UNMODIFIED_SINCE).is_none_or(|date| modified <= date)
    };
    let unchanged = if headers.contains_key(IF_NONE_MATCH) {
        matches(headers, &IF_NONE_MATCH, |_, known| known == tag)
    } else {
        only_date(headers, &IF_MODIFIED_SINCE).is_some_and(|date| modified <= date)
    };
    match (expected, unchanged) {
        (false, _) => Outcome::Failed,
        (true, true) => Outcome::NotModified,
        (true, false) => Outcome::Serve,
    }
}

/// Whether an upload's conditions let it be stored. What it is sent to, the collection, has no tag and no date: nothing matches
/// it, and `If-None-Match` holds always.
pub(super) fn lets_store(headers: &HeaderMap) -> bool {
    !headers.contains_key(IF_MATCH)
}

/// The answer where a condition does not hold. No code is bound to 412, which HTTP's clients look for; the code is that of any
/// request which cannot be served as it stands.
pub(super) fn refused() -> Refused {
    Refused::new(Code::InvalidRequest, "a condition of the request does not hold; nothing was done")
        .with_status(StatusCode::PRECONDITION_FAILED)
}

/// Whether a range may be served: the client's part is of these bytes, or it says nothing. A weak tag never is.
pub(super) fn range_holds(headers: &HeaderMap, record: &Record, now: SystemTime) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let text = value.to_str().unwrap_or_default().trim();
    if text.starts_with('"') || text.starts_with("W/") {
        return text == entity_tag(&record.digest);
    }
    date(value).is_some_and(|date| date == last_modified(record, now))
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// The date under `name`; what is no date, or stands twice, says nothing (RFC 9110 §13.1).
fn only_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    date(value)
}

/// Whether a list under `name` is `*`, which any artifact is, or holds a tag that `is_it` takes.
fn matches(headers: &HeaderMap, name: &HeaderName, is_it: impl Fn(bool, &str) -> bool) -> bool {
    headers.get_all(name).iter().any(|list| {
        let list = list.to_str().unwrap_or_default().trim();
        list == "*" || tags(list).any(|(is_weak, tag)| is_it(is_weak, tag))
    })
}

/// The tags of a list, each as whether it is weak and its quoted text; what is malformed ends the list.
fn tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let weak = rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest);
        let end = quoted.strip_prefix('"')?.find('"')? + 2;
        let (tag, after) = quoted.split_at(end);
        rest = after;
        Some((weak, tag))
    })
}

#[cfg(test)]
mod tests {
    use artifact_store::{PutOptions, Scope, Timestamp};

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

    /// A second after the record was made.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_778)
    }

    fn outcome(pairs: &[(HeaderName, &str)]) -> Outcome {
        evaluate(&headers(pairs), &record(), now())
    }

    #[test]
    fn a_tag_in_a_list_matches_weakly() {
        let tag = entity_tag(&record().digest);
        for list in [tag.clone(), format!("W/{tag}"), format!("\"a,b\", {tag}"), "*".to_owned()] {
            assert_eq!(outcome(&[(IF_NONE_MATCH, &list)]), Outcome::NotModified, "{list}");
        }
    }

    #[test]
    fn another_or_a_malformed_tag_does_not_match() {
        let tag = entity_tag(&record().digest);
        let bare = tag.trim_matches('"').to_owned();
        for list in ["\"a\"".to_owned(), bare, format!("\"a, {tag}"), String::new(), format!("x {tag}")] {
            assert_eq!(outcome(&[(IF_NONE_MATCH, &list)]), Outcome::Serve, "{list}");
            assert_eq!(outcome(&[(IF_MATCH, &list)]), Outcome::Failed, "{list}");
        }
    }

    #[test]
    fn a_date_counts_only_without_a_tag() {
        let same = (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(outcome(std::slice::from_ref(&same)), Outcome::NotModified);
        assert_eq!(outcome(&[same.clone(), same.clone()]), Outcome::Serve);
        assert_eq!(outcome(&[same, (IF_NONE_MATCH, "\"a\"")]), Outcome::Serve);
        assert_eq!(outcome(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]), Outcome::Serve);
        assert_eq!(outcome(&[(IF_MODIFIED_SINCE, "yesterday")]), Outcome::Serve);
    }

    #[test]
    fn if_match_takes_the_strong_tag_or_any() {
        let tag = entity_tag(&record().digest);
        for list in [tag.clone(), format!("\"a\", W/\"b\" , {tag}"), "*".to_owned()] {
            assert_eq!(outcome(&[(IF_MATCH, &list)]), Outcome::Serve, "{list}");
        }
        assert_eq!(outcome(&[(IF_MATCH, "\"a\""), (IF_MATCH, &tag)]), Outcome::Serve);
        assert_eq!(outcome(&[(IF_MATCH, &format!("W/{tag}"))]), Outcome::Failed);
    }

    #[test]
    fn if_unmodified_since_counts_only_without_if_match_and_where_it_is_a_date() {
        let (earlier, same) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, same)]), Outcome::Serve);
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, earlier)]), Outcome::Failed);
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, earlier), (IF_MATCH, "*")]), Outcome::Serve);
        assert_eq!(outcome(&[(IF_UNMODIFIED_SINCE, "yesterday")]), Outcome::Serve);
    }

    #[test]
    fn what_must_hold_comes_before_what_the_client_has() {
        let tag = entity_tag(&record().digest);
        assert_eq!(outcome(&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, &tag)]), Outcome::Failed);
        assert_eq!(outcome(&[(IF_MATCH, &tag), (IF_NONE_MATCH, &tag)]), Outcome::NotModified);
    }

    #[test]
    fn a_record_of_a_clock_that_is_ahead_was_made_now() {
        let before = UNIX_EPOCH + Duration::from_secs(784_111_000);
        assert_eq!(last_modified(&record(), before), before);
        assert_eq!(last_modified(&record(), now()), UNIX_EPOCH + Duration::from_secs(784_111_777));
    }

    #[test]
    fn nothing_matches_what_an_upload_is_sent_to() {
        assert!(lets_store(&headers(&[
            (IF_NONE_MATCH, "*"),
            (IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")
        ])));
        for list in ["*", "\"a\"", ""] {
            assert!(!lets_store(&headers(&[(IF_MATCH, list)])), "{list}");
        }
    }

    #[test]
    fn a_range_holds_for_the_strong_tag_and_the_exact_date_only() {
        let tag = entity_tag(&record().digest);
        let holds = |value: &str| range_holds(&headers(&[(IF_RANGE, value)]), &record(), now());
        assert!(range_holds(&HeaderMap::new(), &record(), now()));
        assert!(holds(&tag));
        assert!(holds("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!holds(&format!("W/{tag}")));
        assert!(!holds("\"a\""));
        assert!(!holds("Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!holds("nonsense"));
    }
}
