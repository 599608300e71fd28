//! Conditional requests (RFC 9110 §13): entity tags and dates held against a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store::{Digest, Record};
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};

/// The headers that need the record before the bytes are asked for.
const CONDITIONS: [HeaderName; 4] = [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE];

/// Whether the answer hangs on more than the artifact.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// The entity tag: the SHA-256 in quotes. It is strong, because it is the bytes'.
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// When the record was made, in whole seconds, as HTTP's dates are.
pub(super) fn last_modified(record: &Record) -> SystemTime {
    let seconds = u64::try_from(record.created_at.as_micros() / 1_000_000).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Whether the client has these bytes already. `If-Modified-Since` counts only where there is no `If-None-Match`.
pub(super) fn is_not_modified(headers: &HeaderMap, record: &Record) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let tag = entity_tag(&record.digest);
        return headers.get_all(IF_NONE_MATCH).iter().any(|list| {
            let list = list.to_str().unwrap_or_default().trim();
            list == "*" || tags(list).any(|(_, known)| known == tag)
        });
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(date);
    since.is_some_and(|since| last_modified(record) <= since)
}

/// Whether a range may be served: the client's part is of these bytes, or it says nothing. A weak tag never is.
pub(super) fn range_holds(headers: &HeaderMap, record: &Record) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let text = value.to_str().unwrap_or_default().trim();
    if text.starts_with('"') || text.starts_with("W/") {
        return text == entity_tag(&record.digest);
    }
    date(value).is_some_and(|date| date == last_modified(record))
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
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

    #[test]
    fn a_tag_in_a_list_matches_weakly() {
        let tag = entity_tag(&record().digest);
        for list in [tag.clone(), format!("W/{tag}"), format!("\"a,b\", {tag}"), "*".to_owned()] {
            assert!(is_not_modified(&headers(&[(IF_NONE_MATCH, &list)]), &record()), "{list}");
        }
    }

    #[test]
    fn another_or_a_malformed_tag_does_not_match() {
        let tag = entity_tag(&record().digest);
        let bare = tag.trim_matches('"').to_owned();
        for list in ["\"a\"".to_owned(), bare, format!("\"a, {tag}"), String::new(), format!("x {tag}")] {
            assert!(!is_not_modified(&headers(&[(IF_NONE_MATCH, &list)]), &record()), "{list}");
        }
    }

    #[test]
    fn a_date_counts_only_without_a_tag() {
        let same = (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(is_not_modified(&headers(std::slice::from_ref(&same)), &record()));
        assert!(!is_not_modified(&headers(&[same, (IF_NONE_MATCH, "\"a\"")]), &record()));
        let earlier = (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT");
        assert!(!is_not_modified(&headers(&[earlier]), &record()));
        assert!(!is_not_modified(&headers(&[(IF_MODIFIED_SINCE, "yesterday")]), &record()));
    }

    #[test]
    fn a_range_holds_for_the_strong_tag_and_the_exact_date_only() {
        let tag = entity_tag(&record().digest);
        let holds = |value: &str| range_holds(&headers(&[(IF_RANGE, value)]), &record());
        assert!(range_holds(&HeaderMap::new(), &record()));
        assert!(holds(&tag));
        assert!(holds("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!holds(&format!("W/{tag}")));
        assert!(!holds("\"a\""));
        assert!(!holds("Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!holds("nonsense"));
    }
}
