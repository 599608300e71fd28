//! The decoder of `artifacts.put`: whatever the pieces, what a reader of whole JSON finds; and the bounds of the payload.

use artifact_store_core::{MediaType, Namespace};
use artifact_store_protocol::{
    Code, ENVELOPE_ALLOWANCE, Envelope, PAYLOAD_BOUNDS, PutDecoder, PutOpts, PutRequest,
};
use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::json::Members;
use crate::{field, is_fit};

/// Fields: the limit in bytes and the lengths of the pieces, each a byte; the JSON.
pub fn any(data: &[u8]) {
    let (settings, json) = field(data);
    let (limit, pieces) = settings.split_first().unwrap_or((&64, &[]));
    holds(json, pieces, u64::from(*limit));
}

/// The JSON is decoded alike whole, in `pieces` (their lengths, over and over) and byte by byte, and as a reader of whole JSON
/// finds it.
pub fn holds(json: &[u8], pieces: &[u8], limit: u64) {
    let whole = decoded([json].into_iter(), limit);
    let mut rest = json;
    let mut lengths = pieces.iter().cycle();
    let split = std::iter::from_fn(|| {
        let length = lengths.next().map_or(rest.len(), |length| usize::from(*length).max(1)).min(rest.len());
        let (piece, more) = rest.split_at(length);
        rest = more;
        (!piece.is_empty()).then_some(piece)
    });
    is_same(&whole, &decoded(split, limit));
    is_same(&whole, &decoded(json.chunks(1), limit));

    let members = Members::of(json);
    let plain = members.as_ref().and_then(|members| {
        let text: String = serde_json::from_str(members.only("bytes")?.get()).ok()?;
        BASE64.decode(text.as_bytes()).ok()
    });
    match whole {
        Ok(request) => {
            let members = members.expect("what was taken is a JSON object");
            assert!(members.are_distinct(), "a member that stands twice was taken");
            assert_eq!(Some(&request.bytes[..]), plain.as_deref(), "other bytes than the JSON holds");
            assert!(request.bytes.len() as u64 <= limit, "more bytes than the limit");
            keeps_bounds(&request.opts);
        }
        Err(refused) => {
            is_fit(&refused, &[Code::InvalidRequest, Code::RequestTooLarge]);
            let (Some(members), Some(plain)) = (members, plain) else { return };
            let fits = plain.len() as u64 <= limit && (json.len() as u64) < ENVELOPE_ALLOWANCE;
            assert!(!fits || refused.code == Code::InvalidRequest, "what fits is called too large");
            let is_minimal = members.0.len() == 1;
            assert!(!(is_minimal && fits), "nothing is wrong with it: {}", refused.message);
        }
    }
}

fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: u64) -> Result<PutRequest, Envelope> {
    let mut decoder = PutDecoder::new(limit);
    for piece in pieces {
        decoder.feed(piece)?;
        decoder.feed(&[])?;
    }
    decoder.finish()
}

fn is_same(one: &Result<PutRequest, Envelope>, other: &Result<PutRequest, Envelope>) {
    match (one, other) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.bytes, other.bytes);
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        (Err(one), Err(other)) => {
            assert_eq!((one.code, &one.message), (other.code, &other.message), "refused otherwise in pieces");
        }
        _ => panic!("taken or refused by its pieces: {one:?}, {other:?}"),
    }
}

/// A payload is taken exactly where every bound holds, counted here once more.
pub fn keeps_bounds(opts: &PutOpts) {
    let taken = opts.clone().into_options();
    let expected = expected(opts);
    match (&taken, expected) {
        (Ok(options), None) => {
            assert_eq!(options.filename.as_deref(), opts.filename.as_deref().filter(|text| !text.is_empty()));
            assert_eq!(options.tags, opts.tags.clone().unwrap_or_default());
            assert_eq!(options.check().map_err(|error| error.to_string()), Ok(()), "core refuses it");
        }
        (Err(refused), Some(code)) => is_fit(refused, &[code]),
        (taken, expected) => panic!("expected {expected:?} of {opts:?}: {taken:?}"),
    }
}

/// Why `opts` has to be refused.
fn expected(opts: &PutOpts) -> Option<Code> {
    let bounds = PAYLOAD_BOUNDS;
    let namespace = opts.namespace.as_deref().unwrap_or_default();
    if !namespace.is_empty() && Namespace::new(namespace).is_err() {
        return Some(Code::InvalidRequest);
    }
    let media_type = opts.mime_type.as_deref().filter(|text| !text.is_empty());
    if media_type.is_some_and(|text| text.chars().count() <= bounds.chars && MediaType::parse(text).is_none())
    {
        return Some(Code::InvalidRequest);
    }
    let mut compact = Map::new();
    let texts =
        [("mime_type", &opts.mime_type), ("filename", &opts.filename), ("namespace", &opts.namespace)];
    for (name, text) in texts {
        if let Some(text) = text {
            compact.insert(name.into(), text.as_str().into());
        }
    }
    if let Some(source) = opts.source {
        compact.insert("source".into(), serde_json::to_value(source).unwrap());
    }
    if let Some(tags) = &opts.tags {
        compact.insert("tags".into(), tags.as_slice().into());
    }
    if let Some(raw) = &opts.metadata {
        let text = serde_json::to_string(raw).unwrap();
        // A tree of any depth that fits into 16 KiB, and numbers that a leaf can be: the plain reader knows both.
        let Ok(metadata) = serde_json::from_str::<Value>(&text) else { return Some(Code::PayloadInvalid) };
        compact.insert("metadata".into(), metadata);
    }
    let mut stack = vec![(&Value::Null, 0)];
    stack.extend(compact.values().map(|value| (value, 1)));
    let long = |text: &str| text.chars().count() > bounds.chars;
    while let Some((value, depth)) = stack.pop() {
        let broken = match value {
            Value::String(text) => long(text),
            Value::Array(items) => depth > bounds.depth || items.len() > bounds.items,
            Value::Object(members) => {
                depth > bounds.depth || members.len() > bounds.keys || members.keys().any(|name| long(name))
            }
            _ => false,
        };
        if broken {
            return Some(Code::PayloadInvalid);
        }
        match value {
            Value::Array(items) => stack.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => stack.extend(members.values().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    let size = serde_json::to_string(&compact).unwrap().len();
    (size > bounds.bytes).then_some(Code::PayloadInvalid)
}
