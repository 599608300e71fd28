//! The record object of an artifact: JSON with the record and the name of its data object.
//!
//! This module must never send a request.

use artifact_store_core::{Record, StoreError};
use serde_json::{Value, json};

use crate::layout::is_random_hex;

/// The largest record object, in bytes.
pub(crate) const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// What a record object contains.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredRecord {
    pub(crate) record: Record,
    /// The random name of the data object. Each put has its own, so it also identifies the put that created the
    /// artifact.
    pub(crate) data: String,
}

impl StoredRecord {
    /// The JSON of a record object.
    ///
    /// # Errors
    /// `InvalidArgument` if the record is too large; `Backend` if reading would not return the same record.
    pub(crate) fn encode(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let not_json = |error| StoreError::backend("the record is not JSON").with_source(error);
        let record = serde_json::to_value(&self.record).map_err(not_json)?;
        let bytes = serde_json::to_vec(&json!({ "data": self.data, "record": record })).map_err(not_json)?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(StoreError::invalid(format!(
                "the record takes {} bytes of JSON; at most {MAX_RECORD_BYTES} are stored",
                bytes.len()
            )));
        }
        if Self::decode(key, &bytes).ok().as_ref() != Some(self) {
            return Err(StoreError::backend(
                "the record would not read back unchanged; is its metadata nested too deeply for the JSON parser?",
            ));
        }
        Ok(bytes)
    }

    /// Parses a record object. `key` is the object's key, for the message.
    ///
    /// # Errors
    /// `Corrupt` if `bytes` are not a record object.
    pub(crate) fn decode(key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        let unreadable = || StoreError::corrupt(format!("{key}: the record is unreadable"));
        let mut value: Value =
            serde_json::from_slice(bytes).map_err(|error| unreadable().with_source(error))?;
        // The name becomes a part of an object's key, so only a random name in hex is accepted.
        let data = value
            .get("data")
            .and_then(Value::as_str)
            .filter(|data| is_random_hex(data))
            .ok_or_else(unreadable)?
            .to_owned();
        let record = value.get_mut("record").map(Value::take).ok_or_else(unreadable)?;
        let record = serde_json::from_value(record).map_err(|error| unreadable().with_source(error))?;
        Ok(Self { record, data })
    }
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{Digest, ErrorKind, PutOptions, Record, Scope, Timestamp};

    use super::{MAX_RECORD_BYTES, StoredRecord};
    use crate::layout::random_hex;

    fn stored(note_length: usize) -> StoredRecord {
        let options = PutOptions::new()
            .with_filename("ä ö.txt")
            .with_metadata("note", "x".repeat(note_length))
            .with_metadata("float", 0.1);
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let created_at = Timestamp::from_micros(1_767_323_045_000_006);
        let record = Record::new(scope, options, Digest::of(b"hello"), 5, created_at);
        StoredRecord { record, data: random_hex().unwrap() }
    }

    #[test]
    fn a_record_object_reads_back() {
        for note_length in [0, 60_000] {
            let stored = stored(note_length);
            assert_eq!(StoredRecord::decode("k", &stored.encode("k").unwrap()).unwrap(), stored);
        }
        let error = stored(MAX_RECORD_BYTES).encode("k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn an_altered_record_object_is_corrupt() {
        let whole = String::from_utf8(stored(1).encode("k").unwrap()).unwrap();
        let data = StoredRecord::decode("k", whole.as_bytes()).unwrap().data;
        for altered in [
            String::new(),
            "{}".to_owned(),
            whole[1..].to_owned(),
            whole[..whole.len() - 1].to_owned(),
            whole.replace(&data, "../../x"),
            whole.replace("\"record\"", "\"other\""),
        ] {
            let error = StoredRecord::decode("k", altered.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{altered}");
        }
    }
}
