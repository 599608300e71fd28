//! When two answers are one: byte for byte, but for the few places where even two servers of one world differ.
//!
//! Everything that is masked is masked here. In every answer: `Date` and `X-Request-Id`, each of which has to be there and to be
//! well-formed. In events: the id and `occurred_at`. In a presigned URL: the bucket and prefix (the worlds' places on the server
//! are neighbours, with names of one length), the time and the signature, and `expires_at`. Nothing else.

use artifact_store_tests::wire::{Frame, REQUEST_ID, Response};
use serde_json::Value;

/// What is compared of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    complete: bool,
}

/// Compares two answers to one request.
///
/// # Errors
/// Where they differ, both of them.
pub(super) fn alike(a: &Response, b: &Response) -> Result<(), String> {
    if seen(a)? == seen(b)? { Ok(()) } else { Err(format!("A answers {a:?}\nB answers {b:?}")) }
}

fn seen(response: &Response) -> Result<Seen, String> {
    let mut headers = response.headers.clone();
    let mut take = |name: &str, is_sound: fn(&str) -> bool| {
        let at = headers.iter().position(|(is, value)| is == name && is_sound(value));
        at.map(|at| headers.remove(at)).ok_or_else(|| format!("no sound {name} in {response:?}"))
    };
    take("date", |date| date.len() == 29 && date.ends_with(" GMT"))?;
    take(REQUEST_ID, |id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let body = unsigned(&response.body);
    Ok(Seen { status: response.status, headers, body, complete: response.complete })
}

/// The body without what makes a presigned URL its own.
fn unsigned(body: &[u8]) -> Vec<u8> {
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let (Some(url), Some(end)) = (answer["presigned_url"].as_str(), answer["expires_at"].as_str()) else {
        return body.to_vec();
    };
    String::from_utf8_lossy(body).replace(url, &masked_url(url)).replace(end, "*").into_bytes()
}

fn masked_url(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    // The driver's own folder of artifacts is the first segment behind bucket and prefix.
    let within = path.find("/a/").map_or(path, |at| &path[at..]);
    let parameters = query.split('&').map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        // The credential has the day in it.
        let own = matches!(name, "X-Amz-Date" | "X-Amz-Credential" | "X-Amz-Signature");
        format!("{name}={}", if own { "*" } else { value })
    });
    format!("*{within}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// Compares what two subscribers read.
///
/// # Errors
/// Where it differs, or an id tells more than which event it is.
pub(super) fn same_events(a: &[Frame], b: &[Frame]) -> Result<(), String> {
    for frames in [a, b] {
        opaque(frames)?;
    }
    if a.len() != b.len() {
        return Err(format!("A tells {} events, B {}", a.len(), b.len()));
    }
    for (a, b) in a.iter().zip(b) {
        if masked_frame(a) != masked_frame(b) {
            return Err(format!("A tells {a:?}\nB tells {b:?}"));
        }
    }
    Ok(())
}

fn masked_frame(frame: &Frame) -> Frame {
    let mut data = frame.json();
    if let Some(moment) = data.get_mut("occurred_at") {
        *moment = "*".into();
    }
    Frame { id: frame.id.as_ref().map(|_| "*".into()), data: Some(data.to_string()), ..frame.clone() }
}

/// Ids must not show how many events there were, in this tenant or in others: all of one length, none twice, and their order
/// that of chance.
fn opaque(frames: &[Frame]) -> Result<(), String> {
    let ids: Vec<&str> = frames.iter().filter_map(|frame| frame.id.as_deref()).collect();
    let seen = || format!("the ids of events show their order: {ids:?}");
    if ids.len() != frames.len() || ids.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
        return Err(seen());
    }
    // Of 20 pairs in an order of chance, all or none rise once in half a million sessions.
    let rising = ids.windows(2).filter(|pair| pair[0] < pair[1]).count();
    if ids.len() > 20 && (rising == 0 || rising == ids.len() - 1) {
        return Err(seen());
    }
    Ok(())
}

#[test]
fn ids_of_events_that_count_are_seen_through() {
    let frames = |id: fn(u64) -> String| -> Vec<Frame> {
        let frame = |number| Frame {
            id: Some(id(number)),
            data: Some("{\"type\":\"x\"}".into()),
            ..Frame::default()
        };
        (0..40).map(frame).collect()
    };
    let chance = frames(|number| artifact_store_tests::wire::sha256(&number.to_be_bytes())[..16].to_owned());
    assert_eq!(same_events(&chance, &chance), Ok(()));
    for counting in [frames(|number| number.to_string()), frames(|number| format!("{:016x}", number * 977))] {
        assert!(same_events(&counting, &counting).is_err());
    }
}

#[test]
fn what_is_masked_of_a_presigned_url_is_its_place_its_time_and_its_signature() {
    let body = |place: &str, key: &str, expires: u64| {
        let url = format!(
            "http://127.0.0.1:1/b/{place}/a/{key}?X-Amz-Date={place}&X-Amz-Expires={expires}&X-Amz-Signature={place}"
        );
        unsigned(format!("{{\"presigned_url\":\"{url}\",\"expires_at\":\"2026-{place}\"}}").as_bytes())
    };
    assert_eq!(body("t1", "k", 60), body("t2", "k", 60));
    assert_ne!(body("t1", "k", 60), body("t1", "l", 60));
    assert_ne!(body("t1", "k", 60), body("t1", "k", 61));
}
