//! How a record stands beside the bytes: in the metadata of the artifact's object, or, where that is too small, in an
//! object of its own that the metadata names.
//!
//! This module must never send a request.

use std::collections::HashMap;

use artifact_store_core::{Bytes, Digest, Record, StoreError};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::layout::random;

/// The metadata that holds the record: its JSON in base64url, a dot, and 128 bits of the JSON's SHA-256.
pub(crate) const META_RECORD: &str = "artifact";
/// The metadata that names the object with the record: its random name, a dot, and the SHA-256 of what it holds.
pub(crate) const META_SIDE: &str = "artifact-side";
/// The metadata that tells one put from every other, so that a put knows its own work again.
pub(crate) const META_MARK: &str = "artifact-mark";

/// The longest value that fits: the protocol gives 2 KiB to all names and values together.
const MAX_INLINE_BYTES: usize = 1900;
/// The largest record. Options are bounded at 64 KiB by the Gate; what is left is scope, digest and JSON's escapes.
pub(crate) const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// A record in its stored form.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    /// The artifact's metadata.
    pub(crate) metadata: HashMap<String, String>,
    /// What is to be stored beside it first, where the metadata does not hold the record.
    pub(crate) side: Option<Side>,
    /// The put's mark, which is among the metadata.
    pub(crate) mark: String,
}

/// A record that takes an object of its own.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// The end of its key.
    pub(crate) random: String,
    /// The record's JSON.
    pub(crate) json: Bytes,
}

/// What an object's metadata say of its record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// They hold it.
    Inline(Box<Record>),
    /// They name the object that holds it.
    Side { random: String, digest: Digest },
}

/// The stored form of `record`.
///
/// # Errors
/// `InvalidArgument` for a record too large, `Backend` for one that would not read back as it is.
pub(crate) fn encode_record(record: &Record) -> Result<Encoded, StoreError> {
    let json = serde_json::to_vec(record)
        .map_err(|error| StoreError::backend("the record is no JSON").with_source(error))?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(StoreError::invalid(format!(
            "the record takes {} bytes of JSON; at most {MAX_RECORD_BYTES} are stored",
            json.len()
        )));
    }
    if serde_json::from_slice::<Record>(&json).ok().as_ref() != Some(record) {
        return Err(StoreError::backend(
            "the record would not read back as it was put; is its metadata deeper than a JSON reader goes?",
        ));
    }
    let mark = random()?;
    let digest = Digest::of(&json);
    let inline = format!("{}.{}", BASE64URL_NOPAD.encode(&json), check(&digest));
    let (value, side) = if inline.len() <= MAX_INLINE_BYTES {
        ((META_RECORD, inline), None)
    } else {
        let random = random()?;
        ((META_SIDE, format!("{random}.{}", digest.to_hex())), Some(Side { random, json: json.into() }))
    };
    let metadata = [value, (META_MARK, mark.clone())].map(|(name, value)| (name.to_owned(), value));
    Ok(Encoded { metadata: HashMap::from(metadata), side, mark })
}

fn check(digest: &Digest) -> String {
    BASE64URL_NOPAD.encode(&digest.as_bytes()[..16])
}

/// What `metadata` say; `None` where they are none of ours, and so the object is no artifact.
///
/// # Errors
/// `Corrupt` where they are ours and unreadable; `key` names the object.
pub(crate) fn decode_record(
    key: &str,
    metadata: Option<&HashMap<String, String>>,
) -> Result<Option<Found>, StoreError> {
    let Some(metadata) = metadata else { return Ok(None) };
    let altered = || StoreError::corrupt(format!("{key}: the metadata were altered"));
    if let Some(value) = metadata.get(META_RECORD) {
        let (json, sum) = value.split_once('.').ok_or_else(altered)?;
        let json = BASE64URL_NOPAD.decode(json.as_bytes()).map_err(|_| altered())?;
        if check(&Digest::of(&json)) != sum {
            return Err(altered());
        }
        return Ok(Some(Found::Inline(Box::new(parse(key, &json)?))));
    }
    let Some(value) = metadata.get(META_SIDE) else { return Ok(None) };
    let (random, digest) = value.split_once('.').ok_or_else(altered)?;
    let digest: [u8; 32] = HEXLOWER
        .decode(digest.as_bytes())
        .ok()
        .and_then(|digest| digest.try_into().ok())
        .ok_or_else(altered)?;
    // It becomes a part of a key.
    if random.len() != 32 || !random.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(altered());
    }
    Ok(Some(Found::Side { random: random.to_owned(), digest: Digest::from_bytes(digest) }))
}

/// The record that an object of its own holds.
///
/// # Errors
/// `Corrupt` where it is not the one that `digest` tells.
pub(crate) fn decode_side(key: &str, json: &[u8], digest: &Digest) -> Result<Record, StoreError> {
    if Digest::of(json) != *digest {
        return Err(StoreError::corrupt(format!("{key}: the record was altered")));
    }
    parse(key, json)
}

fn parse(key: &str, json: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(json)
        .map_err(|error| StoreError::corrupt(format!("{key}: the record is unreadable")).with_source(error))
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{Digest, ErrorKind, Metadata, PutOptions, Record, Scope, Timestamp};

    use super::{Found, META_RECORD, META_SIDE, decode_record, decode_side, encode_record};

    fn record(note: usize) -> Record {
        let mut metadata = Metadata::new();
        metadata.insert("note".into(), "x".repeat(note).into());
        let options = PutOptions { metadata, ..PutOptions::default() };
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        Record::new(scope, options, Digest::of(b"hello"), 5, Timestamp::from_micros(1_767_323_045_000_006))
    }

    #[test]
    fn a_short_record_stands_in_the_metadata_and_a_long_one_beside() {
        let short = encode_record(&record(10)).unwrap();
        assert!(short.side.is_none());
        let Some(Found::Inline(back)) = decode_record("k", Some(&short.metadata)).unwrap() else { panic!() };
        assert_eq!(*back, record(10));

        let long = encode_record(&record(60_000)).unwrap();
        let Some(Found::Side { random, digest }) = decode_record("k", Some(&long.metadata)).unwrap() else {
            panic!()
        };
        let side = long.side.unwrap();
        assert_eq!(side.random, random);
        assert_eq!(decode_side("k", &side.json, &digest).unwrap(), record(60_000));
        assert_eq!(decode_side("k", b"{}", &digest).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn all_metadata_together_fit_into_two_kibibytes() {
        for note in 0..3000 {
            let encoded = encode_record(&record(note)).unwrap();
            let bytes: usize = encoded
                .metadata
                .iter()
                .map(|(name, value)| "x-amz-meta-".len() + name.len() + value.len())
                .sum();
            assert!(bytes <= 2048, "{bytes} bytes for a note of {note}");
        }
    }

    #[test]
    fn altered_metadata_are_found_out_and_foreign_ones_are_none_of_ours() {
        let encoded = encode_record(&record(10)).unwrap();
        for (name, value) in
            [(META_RECORD, "e30.AAAA"), (META_RECORD, "?"), (META_SIDE, "../../x.00"), (META_SIDE, "")]
        {
            let metadata = [(name.to_owned(), value.to_owned())].into();
            assert_eq!(
                decode_record("k", Some(&metadata)).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{value}"
            );
        }
        let mut altered = encoded.metadata.clone();
        altered.get_mut(META_RECORD).unwrap().replace_range(20..21, "!");
        assert!(decode_record("k", Some(&altered)).is_err());
        assert_eq!(decode_record("k", None).unwrap(), None);
        assert_eq!(decode_record("k", Some(&[("else".to_owned(), "x".to_owned())].into())).unwrap(), None);
    }
}
