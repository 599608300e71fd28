//! Compares two responses byte for byte, except for the few values that differ even between two servers of one world.
//!
//! All masking is done here. In every response: `Date` and `X-Request-Id`, each of which must be present and
//! well-formed. In events: the id and `occurred_at`. In a presigned URL: the bucket and prefix (both worlds use one
//! server, with names of the same length), the time and the signature, and `expires_at`. Nothing else.

use artifact_store_tests::wire::{Frame, REQUEST_ID, Response};
use serde_json::Value;

/// The compared parts of a response.
#[derive(Debug, PartialEq, Eq)]
struct ComparableResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    complete: bool,
}

/// Compares two responses to the same request.
///
/// # Errors
/// Both responses, if they differ.
pub(super) fn compare_responses(a: &Response, b: &Response) -> Result<(), String> {
    if comparable(a)? == comparable(b)? { Ok(()) } else { Err(format!("A responds {a:?}\nB responds {b:?}")) }
}

fn comparable(response: &Response) -> Result<ComparableResponse, String> {
    let mut headers = response.headers.clone();
    let mut remove_valid = |name: &str, is_valid: fn(&str) -> bool| {
        let at = headers.iter().position(|(is, value)| is == name && is_valid(value));
        at.map(|at| headers.remove(at)).ok_or_else(|| format!("no valid {name} in {response:?}"))
    };
    remove_valid("date", |date| date.len() == 29 && date.ends_with(" GMT"))?;
    remove_valid(REQUEST_ID, |id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let body = mask_presigned_url(&response.body);
    Ok(ComparableResponse { status: response.status, headers, body, complete: response.complete })
}

/// The body with the individual parts of a presigned URL masked.
fn mask_presigned_url(body: &[u8]) -> Vec<u8> {
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let (Some(url), Some(end)) = (answer["presigned_url"].as_str(), answer["expires_at"].as_str()) else {
        return body.to_vec();
    };
    String::from_utf8_lossy(body).replace(url, &mask_url(url)).replace(end, "*").into_bytes()
}

fn mask_url(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    // The driver's own folder of artifacts is the first segment after bucket and prefix.
    let within = path.find("/a/").map_or(path, |at| &path[at..]);
    let parameters = query.split('&').map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        // The credential contains the day.
        let own = matches!(name, "X-Amz-Date" | "X-Amz-Credential" | "X-Amz-Signature");
        format!("{name}={}", if own { "*" } else { value })
    });
    format!("*{within}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// Compares the events that two subscribers received.
///
/// # Errors
/// If the events differ, or if an id reveals more than the event it names.
pub(super) fn compare_events(a: &[Frame], b: &[Frame]) -> Result<(), String> {
    for frames in [a, b] {
        check_ids_are_opaque(frames)?;
    }
    if a.len() != b.len() {
        return Err(format!("A sends {} events, B {}", a.len(), b.len()));
    }
    for (a, b) in a.iter().zip(b) {
        if mask_frame(a) != mask_frame(b) {
            return Err(format!("A sends {a:?}\nB sends {b:?}"));
        }
    }
    Ok(())
}

fn mask_frame(frame: &Frame) -> Frame {
    let mut data = frame.json();
    if let Some(moment) = data.get_mut("occurred_at") {
        *moment = "*".into();
    }
    Frame { id: frame.id.as_ref().map(|_| "*".into()), data: Some(data.to_string()), ..frame.clone() }
}

/// Ids must not show how many events there were, in this tenant or in others. All must have the same length, none may
/// repeat, and their order must be random.
fn check_ids_are_opaque(frames: &[Frame]) -> Result<(), String> {
    let ids: Vec<&str> = frames.iter().filter_map(|frame| frame.id.as_deref()).collect();
    let message = || format!("the ids of events show their order: {ids:?}");
    if ids.len() != frames.len() || ids.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
        return Err(message());
    }
    // With 20 pairs in random order, all or none rise once in half a million sessions.
    let rising = ids.windows(2).filter(|pair| pair[0] < pair[1]).count();
    if ids.len() > 20 && (rising == 0 || rising == ids.len() - 1) {
        return Err(message());
    }
    Ok(())
}

#[test]
fn event_ids_that_count_are_detected() {
    let frames = |id: fn(u64) -> String| -> Vec<Frame> {
        let frame = |number| Frame {
            id: Some(id(number)),
            data: Some("{\"type\":\"x\"}".into()),
            ..Frame::default()
        };
        (0..40).map(frame).collect()
    };
    let chance = frames(|number| artifact_store_tests::wire::sha256(&number.to_be_bytes())[..16].to_owned());
    assert_eq!(compare_events(&chance, &chance), Ok(()));
    for counting in [frames(|number| number.to_string()), frames(|number| format!("{:016x}", number * 977))] {
        assert!(compare_events(&counting, &counting).is_err());
    }
}

#[test]
fn location_time_and_signature_of_a_presigned_url_are_masked() {
    let body = |place: &str, key: &str, expires: u64| {
        let url = format!(
            "http://127.0.0.1:1/b/{place}/a/{key}?X-Amz-Date={place}&X-Amz-Expires={expires}&X-Amz-Signature={place}"
        );
        mask_presigned_url(
            format!("{{\"presigned_url\":\"{url}\",\"expires_at\":\"2026-{place}\"}}").as_bytes(),
        )
    };
    assert_eq!(body("t1", "k", 60), body("t2", "k", 60));
    assert_ne!(body("t1", "k", 60), body("t1", "l", 60));
    assert_ne!(body("t1", "k", 60), body("t1", "k", 61));
}
