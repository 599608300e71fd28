//! Every request but a put: an accepted request is one JSON object of declared members, and decodes equally however
//! it is written.

use std::fmt::Debug;

use artifact_store_protocol::{
    Code, DeleteRequest, GetRefRequest, GetRequest, ListRequest, MAX_EXPIRY_NANOS, MIN_EXPIRY_NANOS,
    RequestScope, RuntimeRequest, decode,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::assert_refusal;
use crate::json::Members;

/// The whole input is JSON, decoded as each of the requests.
pub fn any(json: &[u8]) {
    if let Some(get) = check_request::<GetRequest>(json, &["scope", "id", "offset", "max_bytes"]) {
        check_scope(&get.scope);
    }
    if let Some(get_ref) = check_request::<GetRefRequest>(json, &["scope", "id", "expiry"]) {
        check_scope(&get_ref.scope);
        let asked = get_ref.expiry.unwrap_or_default();
        match get_ref.expiry_nanos() {
            Ok(None) => assert_eq!(asked, 0),
            Ok(Some(nanos)) => {
                assert!(nanos == asked && (MIN_EXPIRY_NANOS..=MAX_EXPIRY_NANOS).contains(&nanos));
            }
            Err(refused) => {
                assert_refusal(&refused, &[Code::InvalidRequest]);
                assert!(asked != 0 && !(MIN_EXPIRY_NANOS..=MAX_EXPIRY_NANOS).contains(&asked));
            }
        }
    }
    let list = ["scope", "mime_type", "source", "size_range", "created_range", "tags", "limit", "cursor"];
    if let Some(list) = check_request::<ListRequest>(json, &list) {
        check_scope(&list.scope);
        let filter = list.filter();
        assert_eq!((&filter.media_types, &filter.tags), (&list.mime_type, &list.tags));
    }
    if let Some(delete) = check_request::<DeleteRequest>(json, &["scope", "id"]) {
        check_scope(&delete.scope);
    }
    check_request::<RuntimeRequest>(json, &["identity"]);
}

/// Decodes `json` and checks the result. Returns the request if it is accepted.
pub fn check_request<T: DeserializeOwned + Debug + PartialEq>(json: &[u8], declared: &[&str]) -> Option<T> {
    let framed = |before: &[u8], after: &[u8]| decode::<T>(&[before, json, after].concat());
    let request = match decode::<T>(json) {
        Ok(request) => request,
        Err(refused) => {
            assert_refusal(&refused, &[Code::InvalidRequest]);
            let spaced = framed(b"\t ", b"\n").map_err(|refused| refused.code);
            assert_eq!(spaced, Err(Code::InvalidRequest), "white space makes it legal");
            return None;
        }
    };
    let members = Members::of(json).expect("an accepted request is a JSON object");
    assert!(members.are_distinct(), "a repeated member was accepted");
    let strangers = members.0.iter().filter(|(name, _)| !declared.contains(&name.as_str()));
    assert_eq!(strangers.count(), 0, "an undeclared member was accepted");
    assert_eq!(framed(b" \r\n\t", b"\t\n ").as_ref(), Ok(&request), "white space changes the request");
    for (before, after) in
        [(&b""[..], &b"x"[..]), (b"", b"{}"), (b"", b"\0"), (b"\xef\xbb\xbf", b""), (b"[", b"]")]
    {
        assert!(framed(before, after).is_err(), "extra bytes around the JSON were accepted");
    }
    let mut tree: Value = serde_json::from_slice(json).expect("accepted input is JSON");
    assert_eq!(
        decode(tree.to_string().as_bytes()).as_ref(),
        Ok(&request),
        "compact JSON changes the request"
    );
    tree.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    assert_eq!(decode(tree.to_string().as_bytes()).as_ref(), Ok(&request), "null is not the same as absent");
    Some(request)
}

/// The parts of a scope are classified as legal, empty or neither.
fn check_scope(scope: &RequestScope) {
    let texts = [&scope.tenant, &scope.user, &scope.session, &scope.task];
    let legal = texts.iter().all(|text| text.len() <= 256 && !text.chars().any(char::is_control));
    match scope.parts() {
        Ok(parts) => {
            assert!(legal, "an illegal part was accepted: {scope:?}");
            let parts = [parts.tenant, parts.user, parts.session, parts.task];
            for (part, text) in parts.iter().zip(texts) {
                assert_eq!(part.as_ref().map_or("", |part| part.as_str()), text);
            }
        }
        Err(refused) => {
            assert_refusal(&refused, &[Code::InvalidRequest]);
            assert!(!legal, "a legal scope was refused: {scope:?}");
        }
    }
}
