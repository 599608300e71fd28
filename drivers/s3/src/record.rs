//! How a record is stored: in the metadata of the artifact's object. A record that is too long for the metadata is
//! stored in a record object, and the metadata name this object.
//!
//! Stores of format 1 keep the record in clear text: its JSON in base64url, with a checksum. Stores of format 2 encrypt
//! the record with a [`RecordKey`]. The driver reads both forms, and writes the form of the store's format.
//!
//! This module must never send a request.

use std::collections::HashMap;

use artifact_store_core::{Bytes, Digest, Record, StoreError};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::encryption::{ID_BYTES, RecordKey, RecordKeyId};
use crate::layout::random_hex;

/// Format 1: the record's JSON in base64url, a dot, and 128 bits of the JSON's SHA-256.
pub(crate) const META_RECORD: &str = "artifact";
/// Format 1: the random name of the record object, a dot, and the SHA-256 of its content.
pub(crate) const META_RECORD_OBJECT: &str = "artifact-side";
/// Format 2: the encrypted record in base64url. If the record is longer than one value may be, the rest is in
/// `artifact-record-1` and so on.
pub(crate) const META_ENCRYPTED_RECORD: &str = "artifact-record";
/// Format 2: the random name and the SHA-256 of the record object, encrypted.
pub(crate) const META_ENCRYPTED_RECORD_OBJECT: &str = "artifact-record-at";
/// The mark of the put that has reserved the object's key. The object is not an artifact yet.
pub(crate) const META_CLAIM: &str = "artifact-claim";
/// The random mark of the put that created the object. A put compares the mark of an existing object with its own mark,
/// to find out whether this put created the object.
pub(crate) const META_MARK: &str = "artifact-mark";

/// The longest value of [`META_RECORD`], in bytes. The protocol allows 2 KiB for all names and values together.
const MAX_CLEAR_BYTES: usize = 1900;
/// The longest encrypted record in metadata, in bytes of base64url. The rest of the 2 KiB is for the mark and for the
/// names of at most 8 entries.
const MAX_ENCRYPTED_BYTES: usize = 1750;
/// The longest value, in bytes, on storages that accept only short values. `OpenStack` Swift accepts 256 bytes.
const SHORT_VALUE_BYTES: usize = 250;
/// The maximum number of entries that a record is read from. A record is split into at most 7 entries: 1750 / 250.
const MAX_VALUES: usize = 16;
/// The largest JSON of a record, in bytes. The Gate limits options to 64 KiB. The rest is for scope, digest and JSON
/// escapes.
pub(crate) const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// The number of hex digits of the random name of a record object. A mark has as many digits.
const RANDOM_DIGITS: usize = 32;

/// How much user metadata a storage keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetadataLimit {
    /// A value of 1750 bytes.
    OneValue,
    /// 1750 bytes, but only in values of at most 250 bytes.
    ShortValues,
    /// One value of 250 bytes. Every record needs a record object.
    OneShortValue,
}

impl MetadataLimit {
    pub(crate) const ALL: [Self; 3] = [Self::OneValue, Self::ShortValues, Self::OneShortValue];

    /// The name in `FORMAT` and for operators.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OneValue => "one_value",
            Self::ShortValues => "short_values",
            Self::OneShortValue => "one_short_value",
        }
    }

    /// The limit with this name; `None` if there is no such limit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.as_str() == text)
    }

    /// What the limit means, for operators.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::OneValue => "a value of 1750 bytes, which holds most records",
            Self::ShortValues => "1750 bytes in values of at most 250 bytes, over which a record is split",
            Self::OneShortValue => {
                "one value of 250 bytes, so each record is an object of its own, which costs one more request per method"
            }
        }
    }

    /// Metadata that are as large as the metadata of a record in format 2 can be with this limit. The probe tests
    /// whether the storage keeps them.
    pub(crate) fn largest_metadata(self) -> HashMap<String, String> {
        let value_bytes = match self {
            Self::OneValue | Self::ShortValues => MAX_ENCRYPTED_BYTES,
            Self::OneShortValue => SHORT_VALUE_BYTES,
        };
        let mut metadata = self.split_value(&"x".repeat(value_bytes));
        metadata.insert(META_MARK.to_owned(), "0".repeat(RANDOM_DIGITS));
        metadata
    }

    /// Splits `value` into metadata entries. With [`Self::OneValue`], there is one entry. With the other limits, the
    /// value of each entry has at most 250 bytes.
    fn split_value(self, value: &str) -> HashMap<String, String> {
        if self == Self::OneValue {
            return [(META_ENCRYPTED_RECORD.to_owned(), value.to_owned())].into();
        }
        let name = |number| match number {
            0 => META_ENCRYPTED_RECORD.to_owned(),
            number => format!("{META_ENCRYPTED_RECORD}-{number}"),
        };
        // The value is ASCII, so each part is valid UTF-8.
        let parts = value.as_bytes().chunks(SHORT_VALUE_BYTES).enumerate();
        parts.map(|(number, part)| (name(number), String::from_utf8_lossy(part).into_owned())).collect()
    }
}

/// Joins the values that [`MetadataLimit::split_value`] has split; `None` if the metadata contain no encrypted record.
fn join_values(metadata: &HashMap<String, String>) -> Option<String> {
    let mut value = metadata.get(META_ENCRYPTED_RECORD)?.clone();
    for number in 1..MAX_VALUES {
        let Some(more) = metadata.get(&format!("{META_ENCRYPTED_RECORD}-{number}")) else { break };
        value.push_str(more);
    }
    Some(value)
}

/// How records are written.
#[derive(Debug, Clone)]
pub(crate) struct RecordEncoding {
    /// The key that encrypts records; `None` in stores of format 1.
    pub(crate) key: Option<RecordKey>,
    pub(crate) metadata_limit: MetadataLimit,
}

/// A record as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct EncodedRecord {
    /// The metadata of the artifact's object.
    pub(crate) metadata: HashMap<String, String>,
    /// The record object; `None` if the metadata contain the record. The record object must be written before the
    /// artifact's object.
    pub(crate) record_object: Option<RecordObject>,
    /// The put's mark, which the metadata contain.
    pub(crate) mark: String,
}

/// A record that needs an object of its own.
#[derive(Debug, Clone)]
pub(crate) struct RecordObject {
    /// The random name of the record object: the end of its key.
    pub(crate) random: String,
    /// The record's JSON.
    pub(crate) json: Bytes,
}

/// What an object's metadata say about its record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoredRecord {
    /// The metadata contain the record.
    Inline(Box<Record>),
    /// The metadata contain the random name and the digest of a record object.
    Object { random: String, digest: Digest },
    /// An `Inline` or `Object` in encrypted form. [`decrypt`](EncryptedRecord::decrypt) returns the decrypted form.
    Encrypted(EncryptedRecord),
}

/// An encrypted record, or the encrypted name and digest of a record object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncryptedRecord {
    key_id: RecordKeyId,
    mark: String,
    ciphertext: Vec<u8>,
    /// Whether the plaintext is the name and digest of a record object, and not the record itself.
    is_record_object: bool,
}

impl EncryptedRecord {
    /// The id of the key that decrypts this record.
    pub(crate) fn key_id(&self) -> RecordKeyId {
        self.key_id
    }

    /// Decrypts the record, or the name of its record object. Never returns `StoredRecord::Encrypted`.
    ///
    /// # Errors
    /// `Corrupt` if the ciphertext cannot be decrypted with `record_key`, or if the plaintext is not valid. `key` is
    /// the object's key, for the message.
    pub(crate) fn decrypt(&self, key: &str, record_key: &RecordKey) -> Result<StoredRecord, StoreError> {
        let altered = || altered_metadata(key);
        let plaintext = record_key.decrypt(&self.mark, &self.ciphertext).ok_or_else(altered)?;
        if !self.is_record_object {
            return Ok(StoredRecord::Inline(Box::new(parse(key, &plaintext)?)));
        }
        // The plaintext contains the random name as bytes. Two hex digits are one byte.
        let (random, digest) = plaintext.split_at_checked(RANDOM_DIGITS / 2).ok_or_else(altered)?;
        let digest: [u8; 32] = digest.try_into().map_err(|_| altered())?;
        Ok(StoredRecord::Object { random: HEXLOWER.encode(random), digest: Digest::from_bytes(digest) })
    }
}

/// Encodes `record`.
///
/// # Errors
/// `InvalidArgument` if the record is too large; `Backend` if decoding would not return the same record, or if the
/// system has no randomness.
pub(crate) fn encode_record(record: &Record, encoding: &RecordEncoding) -> Result<EncodedRecord, StoreError> {
    let json = serde_json::to_vec(record)
        .map_err(|error| StoreError::backend("the record is not JSON").with_source(error))?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(StoreError::invalid(format!(
            "the record takes {} bytes of JSON; at most {MAX_RECORD_BYTES} are stored",
            json.len()
        )));
    }
    if serde_json::from_slice::<Record>(&json).ok().as_ref() != Some(record) {
        return Err(StoreError::backend(
            "the record would not read back unchanged; is its metadata nested too deeply for the JSON parser?",
        ));
    }
    match &encoding.key {
        Some(key) => encode_encrypted(json, key, encoding.metadata_limit),
        None => encode_clear(json, encoding.metadata_limit),
    }
}

/// Encodes a record in format 2: its JSON is encrypted.
fn encode_encrypted(
    json: Vec<u8>,
    key: &RecordKey,
    limit: MetadataLimit,
) -> Result<EncodedRecord, StoreError> {
    let mark = random_hex()?;
    let encrypted_length = json.len() + crate::encryption::OVERHEAD_BYTES;
    let fits = BASE64URL_NOPAD.encode_len(encrypted_length) <= MAX_ENCRYPTED_BYTES;
    let (mut metadata, record_object) = if fits && limit != MetadataLimit::OneShortValue {
        let encrypted = key.encrypt(&mark, &json)?;
        (limit.split_value(&BASE64URL_NOPAD.encode(&encrypted)), None)
    } else {
        // The metadata contain only the random name of the record object and the digest of the record.
        let random = random_hex()?;
        let random_bytes = HEXLOWER
            .decode(random.as_bytes())
            .map_err(|error| StoreError::backend("a random name is not hex").with_source(error))?;
        let plaintext = [&random_bytes[..], &Digest::of(&json).as_bytes()[..]].concat();
        let encrypted = key.encrypt(&mark, &plaintext)?;
        let entry = (META_ENCRYPTED_RECORD_OBJECT.to_owned(), BASE64URL_NOPAD.encode(&encrypted));
        ([entry].into(), Some(RecordObject { random, json: json.into() }))
    };
    metadata.insert(META_MARK.to_owned(), mark.clone());
    Ok(EncodedRecord { metadata, record_object, mark })
}

/// Encodes a record in format 1: its JSON is clear text.
fn encode_clear(json: Vec<u8>, limit: MetadataLimit) -> Result<EncodedRecord, StoreError> {
    let mark = random_hex()?;
    let digest = Digest::of(&json);
    let inline = format!("{}.{}", BASE64URL_NOPAD.encode(&json), checksum(&digest));
    // Format 1 does not split a record into short values.
    let (name, value, record_object) = if inline.len() <= MAX_CLEAR_BYTES && limit == MetadataLimit::OneValue
    {
        (META_RECORD, inline, None)
    } else {
        let random = random_hex()?;
        let value = format!("{random}.{}", digest.to_hex());
        (META_RECORD_OBJECT, value, Some(RecordObject { random, json: json.into() }))
    };
    let metadata = HashMap::from([(name.to_owned(), value), (META_MARK.to_owned(), mark.clone())]);
    Ok(EncodedRecord { metadata, record_object, mark })
}

/// The first 128 bits of a digest in base64url.
fn checksum(digest: &Digest) -> String {
    BASE64URL_NOPAD.encode(&digest.as_bytes()[..16])
}

/// Decodes `metadata`; `None` if they contain no record, so the object is not an artifact.
///
/// # Errors
/// `Corrupt` if `metadata` contain a record that is unreadable. `key` is the object's key, for the message.
pub(crate) fn decode_record(
    key: &str,
    metadata: Option<&HashMap<String, String>>,
) -> Result<Option<StoredRecord>, StoreError> {
    let Some(metadata) = metadata else { return Ok(None) };
    let encrypted_record = join_values(metadata);
    let is_record_object = encrypted_record.is_none();
    if let Some(value) = encrypted_record.or_else(|| metadata.get(META_ENCRYPTED_RECORD_OBJECT).cloned()) {
        let mark = metadata.get(META_MARK).ok_or_else(|| altered_metadata(key))?.clone();
        return decode_encrypted(key, &value, mark, is_record_object).map(Some);
    }
    if let Some(value) = metadata.get(META_RECORD) {
        return decode_clear(key, value).map(Some);
    }
    if let Some(value) = metadata.get(META_RECORD_OBJECT) {
        return decode_clear_record_object(key, value).map(Some);
    }
    Ok(None)
}

/// Decodes the joined value of [`META_ENCRYPTED_RECORD`], or the value of [`META_ENCRYPTED_RECORD_OBJECT`] if
/// `is_record_object` is `true`. The result is still encrypted. `mark` is the mark in the same metadata.
fn decode_encrypted(
    key: &str,
    value: &str,
    mark: String,
    is_record_object: bool,
) -> Result<StoredRecord, StoreError> {
    let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| altered_metadata(key))?;
    let (key_id, ciphertext) = bytes.split_first_chunk::<ID_BYTES>().ok_or_else(|| altered_metadata(key))?;
    let ciphertext = ciphertext.to_vec();
    Ok(StoredRecord::Encrypted(EncryptedRecord { key_id: *key_id, mark, ciphertext, is_record_object }))
}

/// Decodes the value of [`META_RECORD`].
fn decode_clear(key: &str, value: &str) -> Result<StoredRecord, StoreError> {
    let altered = || altered_metadata(key);
    let (json, expected_checksum) = value.split_once('.').ok_or_else(altered)?;
    let json = BASE64URL_NOPAD.decode(json.as_bytes()).map_err(|_| altered())?;
    if checksum(&Digest::of(&json)) != expected_checksum {
        return Err(altered());
    }
    Ok(StoredRecord::Inline(Box::new(parse(key, &json)?)))
}

/// Decodes the value of [`META_RECORD_OBJECT`].
fn decode_clear_record_object(key: &str, value: &str) -> Result<StoredRecord, StoreError> {
    let altered = || altered_metadata(key);
    let (random, digest) = value.split_once('.').ok_or_else(altered)?;
    let digest: [u8; 32] = HEXLOWER
        .decode(digest.as_bytes())
        .ok()
        .and_then(|digest| digest.try_into().ok())
        .ok_or_else(altered)?;
    // The name becomes a part of an object's key, so only a random name in hex is accepted.
    if random.len() != RANDOM_DIGITS || !random.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(altered());
    }
    Ok(StoredRecord::Object { random: random.to_owned(), digest: Digest::from_bytes(digest) })
}

/// The error if the metadata of the object at `key` contain an unreadable record.
fn altered_metadata(key: &str) -> StoreError {
    StoreError::corrupt(format!("{key}: the metadata were altered"))
}

/// Decodes the content of a record object.
///
/// # Errors
/// `Corrupt` if `json` does not have this digest, or is not a record. `key` is the object's key, for the message.
pub(crate) fn decode_record_object(key: &str, json: &[u8], digest: &Digest) -> Result<Record, StoreError> {
    if Digest::of(json) != *digest {
        return Err(StoreError::corrupt(format!("{key}: the record was altered")));
    }
    parse(key, json)
}

/// Parses the JSON of a record. `key` is the object's key, for the message.
fn parse(key: &str, json: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(json)
        .map_err(|error| StoreError::corrupt(format!("{key}: the record is unreadable")).with_source(error))
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{Digest, ErrorKind, Metadata, PutOptions, Record, Scope, Timestamp};

    use super::{
        META_RECORD, META_RECORD_OBJECT, MetadataLimit, RANDOM_DIGITS, RecordEncoding, StoredRecord,
        decode_record, decode_record_object, encode_record,
    };
    use crate::encryption::RecordKey;

    /// A record that is at least `note_length` bytes long.
    fn record(note_length: usize) -> Record {
        let mut metadata = Metadata::new();
        metadata.insert("note".into(), "x".repeat(note_length).into());
        let options = PutOptions { metadata, ..PutOptions::default() };
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        Record::new(scope, options, Digest::of(b"hello"), 5, Timestamp::from_micros(1_767_323_045_000_006))
    }

    fn clear_text() -> RecordEncoding {
        RecordEncoding { key: None, metadata_limit: MetadataLimit::OneValue }
    }

    /// An encoding with a random key, and this key.
    fn encrypted(limit: MetadataLimit) -> (RecordEncoding, RecordKey) {
        let key = RecordKey::random().unwrap();
        (RecordEncoding { key: Some(key.clone()), metadata_limit: limit }, key)
    }

    #[test]
    fn an_encrypted_record_reads_back_with_every_metadata_limit() {
        for limit in MetadataLimit::ALL {
            let (encoding, key) = encrypted(limit);
            for note_length in [0, 100, 700, 1500, 60_000] {
                let encoded = encode_record(&record(note_length), &encoding).unwrap();
                let longest = encoded.metadata.values().map(String::len).max().unwrap();
                let max_length = if limit == MetadataLimit::OneValue { 1750 } else { 250 };
                assert!(longest <= max_length, "{limit:?}: {longest}");
                let debug = format!("{:?}", encoded.metadata);
                assert!(!debug.contains("acme") && !debug.contains("xxxx"), "{debug}");
                let Some(StoredRecord::Encrypted(found)) =
                    decode_record("k", Some(&encoded.metadata)).unwrap()
                else {
                    panic!("the record is not encrypted")
                };
                assert_eq!(found.key_id(), key.id());
                match found.decrypt("k", &key).unwrap() {
                    StoredRecord::Inline(back) => assert_eq!(*back, record(note_length)),
                    StoredRecord::Object { random, digest } => {
                        let record_object = encoded.record_object.unwrap();
                        assert_eq!(record_object.random, random);
                        assert_eq!(
                            decode_record_object("k", &record_object.json, &digest).unwrap(),
                            record(note_length)
                        );
                    }
                    StoredRecord::Encrypted(_) => panic!("encrypted twice"),
                }
                let other = RecordKey::random().unwrap();
                assert_eq!(found.decrypt("k", &other).unwrap_err().kind(), ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn a_short_record_is_in_the_metadata_and_a_long_one_in_a_record_object() {
        let short = encode_record(&record(10), &clear_text()).unwrap();
        assert!(short.record_object.is_none());
        let Some(StoredRecord::Inline(back)) = decode_record("k", Some(&short.metadata)).unwrap() else {
            panic!("the record is not in the metadata")
        };
        assert_eq!(*back, record(10));

        let long = encode_record(&record(60_000), &clear_text()).unwrap();
        let Some(StoredRecord::Object { random, digest }) = decode_record("k", Some(&long.metadata)).unwrap()
        else {
            panic!("the record is not in a record object")
        };
        let record_object = long.record_object.unwrap();
        assert_eq!(record_object.random, random);
        assert_eq!(decode_record_object("k", &record_object.json, &digest).unwrap(), record(60_000));
        assert_eq!(decode_record_object("k", b"{}", &digest).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn all_metadata_together_fit_into_two_kibibytes() {
        let mut encodings = MetadataLimit::ALL.map(|limit| encrypted(limit).0).to_vec();
        encodings.push(clear_text());
        for note_length in 0..3000 {
            for encoding in &encodings {
                let encoded = encode_record(&record(note_length), encoding).unwrap();
                let bytes: usize = encoded
                    .metadata
                    .iter()
                    .map(|(name, value)| "x-amz-meta-".len() + name.len() + value.len())
                    .sum();
                assert!(bytes <= 2048, "{bytes} bytes for a note of {note_length} bytes");
            }
        }
    }

    #[test]
    fn altered_metadata_are_detected_and_foreign_ones_ignored() {
        let path_as_name = format!("{}.{}", "x/".repeat(RANDOM_DIGITS / 2), "00".repeat(32));
        for (name, value) in [
            // The checksum is wrong.
            (META_RECORD, "e30.AAAA"),
            // There is no checksum.
            (META_RECORD, "?"),
            // The text after the first dot is not a digest.
            (META_RECORD_OBJECT, "../../x.00"),
            // The name is not hexadecimal.
            (META_RECORD_OBJECT, path_as_name.as_str()),
            // There is no digest.
            (META_RECORD_OBJECT, ""),
        ] {
            let metadata = [(name.to_owned(), value.to_owned())].into();
            assert_eq!(
                decode_record("k", Some(&metadata)).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{value}"
            );
        }
        let encoded = encode_record(&record(10), &clear_text()).unwrap();
        let mut altered = encoded.metadata;
        // `!` is not a digit of base64url.
        altered.get_mut(META_RECORD).unwrap().replace_range(20..21, "!");
        assert!(decode_record("k", Some(&altered)).is_err());
        assert_eq!(decode_record("k", None).unwrap(), None);
        assert_eq!(decode_record("k", Some(&[("else".to_owned(), "x".to_owned())].into())).unwrap(), None);
    }
}
