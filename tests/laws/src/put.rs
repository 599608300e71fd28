//! The decoder of `artifacts.put`: whatever the chunks, it decodes what a parser of the whole JSON finds. Also the
//! limits of the payload.

use artifact_store_core::{MediaType, Namespace};
use artifact_store_protocol::{
    Code, Envelope, LimitSource, MAX_JSON_BYTES, PAYLOAD_LIMITS, PutDecoder, PutOpts, PutRequest, SizeLimit,
};
use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::json::Members;
use crate::{assert_refusal, split_field};

/// Fields: the limit in bytes and the lengths of the chunks, each a byte; the JSON.
pub fn any(data: &[u8]) {
    let (settings, json) = split_field(data);
    let (limit, chunk_lengths) = settings.split_first().unwrap_or((&64, &[]));
    check_decoding(json, chunk_lengths, u64::from(*limit));
}

/// The JSON decodes equally as a whole, in chunks (of `chunk_lengths`, repeated) and byte by byte, and as a parser of
/// the whole JSON finds it.
pub fn check_decoding(json: &[u8], chunk_lengths: &[u8], limit: u64) {
    let whole = decode_chunks([json].into_iter(), limit);
    let mut rest = json;
    let mut lengths = chunk_lengths.iter().cycle();
    let split = std::iter::from_fn(|| {
        let length = lengths.next().map_or(rest.len(), |length| usize::from(*length).max(1)).min(rest.len());
        let (chunk, more) = rest.split_at(length);
        rest = more;
        (!chunk.is_empty()).then_some(chunk)
    });
    assert_same_result(&whole, &decode_chunks(split, limit));
    assert_same_result(&whole, &decode_chunks(json.chunks(1), limit));

    let members = Members::of(json);
    let plain = members.as_ref().and_then(|members| {
        let text: String = serde_json::from_str(members.only("bytes")?.get()).ok()?;
        BASE64.decode(text.as_bytes()).ok()
    });
    match whole {
        Ok(request) => {
            let members = members.expect("an accepted request is a JSON object");
            assert!(members.are_distinct(), "a repeated member was accepted");
            assert_eq!(Some(&request.bytes[..]), plain.as_deref(), "the bytes differ from those in the JSON");
            assert!(request.bytes.len() as u64 <= limit, "more bytes than the limit");
            check_limits(&request.opts);
        }
        Err(refused) => {
            assert_refusal(&refused, &[Code::InvalidRequest, Code::RequestTooLarge]);
            let (Some(members), Some(plain)) = (members, plain) else { return };
            let fits = plain.len() as u64 <= limit && (json.len() as u64) < MAX_JSON_BYTES;
            assert!(
                !fits || refused.code == Code::InvalidRequest,
                "a request within the limits is called too large"
            );
            let is_minimal = members.0.len() == 1;
            assert!(!(is_minimal && fits), "a valid request is refused: {}", refused.message);
        }
    }
}

fn decode_chunks<'a>(
    chunk_lengths: impl Iterator<Item = &'a [u8]>,
    limit: u64,
) -> Result<PutRequest, Envelope> {
    let mut decoder = PutDecoder::new(SizeLimit { bytes: limit, source: LimitSource::MaxRequestBytes });
    for chunk in chunk_lengths {
        decoder.feed(chunk)?;
        decoder.feed(&[])?;
    }
    decoder.finish()
}

fn assert_same_result(one: &Result<PutRequest, Envelope>, other: &Result<PutRequest, Envelope>) {
    match (one, other) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.bytes, other.bytes);
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        (Err(one), Err(other)) => {
            assert_eq!(
                (one.code, &one.message),
                (other.code, &other.message),
                "refused differently in chunks"
            );
        }
        _ => panic!("accepted or refused depending on its chunks: {one:?}, {other:?}"),
    }
}

/// A payload is accepted exactly if it is within every limit, checked by a second implementation here.
pub fn check_limits(opts: &PutOpts) {
    let accepted = opts.clone().into_options();
    let expected = expected_refusal(opts);
    match (&accepted, expected) {
        (Ok(options), None) => {
            assert_eq!(options.filename.as_deref(), opts.filename.as_deref().filter(|text| !text.is_empty()));
            assert_eq!(options.tags, opts.tags.clone().unwrap_or_default());
            assert_eq!(options.validate().map_err(|error| error.to_string()), Ok(()), "core refuses it");
        }
        (Err(refused), Some(code)) => assert_refusal(refused, &[code]),
        (accepted, expected) => panic!("expected {expected:?} of {opts:?}: {accepted:?}"),
    }
}

/// Why `opts` must be refused, if so.
fn expected_refusal(opts: &PutOpts) -> Option<Code> {
    let limits = PAYLOAD_LIMITS;
    let namespace = opts.namespace.as_deref().unwrap_or_default();
    if !namespace.is_empty() && Namespace::new(namespace).is_err() {
        return Some(Code::InvalidRequest);
    }
    let media_type = opts.mime_type.as_deref().filter(|text| !text.is_empty());
    if media_type
        .is_some_and(|text| text.chars().count() <= limits.max_chars && MediaType::parse(text).is_none())
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
        // The parser rejects numbers that do not fit a leaf, and nesting deeper than any limit.
        let Ok(metadata) = serde_json::from_str::<Value>(&text) else { return Some(Code::PayloadInvalid) };
        compact.insert("metadata".into(), metadata);
    }
    let mut stack = vec![(&Value::Null, 0)];
    stack.extend(compact.values().map(|value| (value, 1)));
    let long = |text: &str| text.chars().count() > limits.max_chars;
    while let Some((value, depth)) = stack.pop() {
        let broken = match value {
            Value::String(text) => long(text),
            Value::Array(items) => depth > limits.max_depth || items.len() > limits.max_items,
            Value::Object(members) => {
                depth > limits.max_depth
                    || members.len() > limits.max_keys
                    || members.keys().any(|name| long(name))
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
    (size > limits.max_bytes).then_some(Code::PayloadInvalid)
}
