//! Names under the root, and the form of an artifact's file: bytes, record, footer.
//!
//! The form is fixed by [`FORMAT_VERSION`]; another form needs another version. This module must never open, create
//! or remove anything: it is given a file and says what it holds.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use artifact_store_core::{
    ArtifactId, Digest, Hasher, KeyToken, MAX_KEY_TOKEN_BYTES, Record, Scope, StoreError,
};

use crate::error::failed;

/// The version that this build reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The marker that makes a directory a store.
pub(crate) const FORMAT_FILE: &str = "FORMAT";
/// What the marker says before the version.
pub(crate) const FORMAT_WORD: &str = "artifact-store-fs";
/// Where files are before they are published.
pub(crate) const TMP_DIR: &str = "tmp";
/// Where published files are.
pub(crate) const ARTIFACTS_DIR: &str = "artifacts";
/// Directories between [`ARTIFACTS_DIR`] and an artifact's file: tenant, user, session, task.
pub(crate) const DEPTH: usize = 4;

/// How a temporary file's name starts; 32 hex digits follow.
pub(crate) const TEMP_PREFIX: &str = "put-";
const TEMP_DIGITS: usize = 32;

/// The end of every artifact's file.
const MAGIC: &[u8; 8] = b"ARTSTORE";
/// Footer: SHA-256 of record and record length (32), record length (4, little-endian), format version (4,
/// little-endian), magic (8).
const FOOTER_BYTES: usize = 32 + 4 + 4 + MAGIC.len();
/// The largest record. Options are bounded at 64 KiB by the Gate; what is left is scope, digest and JSON's escapes.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// How much of a file's end is read at first: the record of all but the largest options.
const TAIL_BYTES: usize = 4096;

/// Where an artifact's file is: tenant, user, session and task token, then the id's.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) dirs: [KeyToken; DEPTH],
    pub(crate) file: KeyToken,
}

impl Key {
    pub(crate) fn new(scope: &Scope, id: &ArtifactId) -> Self {
        Self { dirs: KeyToken::of_scope(scope), file: KeyToken::of_id(id) }
    }

    /// The path of the leaf directory below [`ARTIFACTS_DIR`].
    pub(crate) fn leaf(&self) -> String {
        let mut path = String::with_capacity((DEPTH + 1) * (MAX_KEY_TOKEN_BYTES + 1));
        for (depth, token) in self.dirs.iter().enumerate() {
            if depth > 0 {
                path.push('/');
            }
            path.push_str(token.as_str());
        }
        path
    }

    /// The path of the file below [`ARTIFACTS_DIR`].
    pub(crate) fn path(&self) -> String {
        let mut path = self.leaf();
        path.push('/');
        path.push_str(self.file.as_str());
        path
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ARTIFACTS_DIR}/{}", self.path())
    }
}

/// Whether `name` has the form of a token. Other names are not the store's: an operator's, or the file system's own.
pub(crate) fn is_token(name: &str) -> bool {
    name.len() <= MAX_KEY_TOKEN_BYTES
        && name.split_once('.').is_some_and(|(stub, hash)| {
            (1..=12).contains(&stub.len())
                && stub.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
                && hash.len() == 32
                && hash.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        })
}

/// Whether `name` is a temporary file of this driver's making.
pub(crate) fn is_temp_name(name: &str) -> bool {
    name.strip_prefix(TEMP_PREFIX).is_some_and(|digits| {
        digits.len() == TEMP_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What follows the bytes in an artifact's file: record and footer.
///
/// # Errors
/// `InvalidArgument` for a record too large, `Backend` for one that would not read back as it is: both before
/// anything is visible, so that whatever is acknowledged can be read.
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, StoreError> {
    let mut end = serde_json::to_vec(record)
        .map_err(|error| StoreError::backend("the record is no JSON").with_source(error))?;
    if end.len() > MAX_RECORD_BYTES {
        return Err(StoreError::invalid(format!(
            "the record takes {} bytes of JSON; at most {MAX_RECORD_BYTES} are stored",
            end.len()
        )));
    }
    if serde_json::from_slice::<Record>(&end).ok().as_ref() != Some(record) {
        return Err(StoreError::backend(
            "the record would not read back as it was put; is its metadata deeper than a JSON reader goes?",
        ));
    }
    let length =
        u32::try_from(end.len()).map_err(|error| StoreError::backend("record length").with_source(error))?;
    let check = checksum(&end, length);
    end.extend_from_slice(check.as_bytes());
    end.extend_from_slice(&length.to_le_bytes());
    end.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    end.extend_from_slice(MAGIC);
    Ok(end)
}

fn checksum(record: &[u8], length: u32) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(record);
    hasher.update(&length.to_le_bytes());
    hasher.finish()
}

/// Reads the record from the end of an artifact's file; the bytes are `0..record.size` of it.
///
/// `place` names the file in errors; `buffer` is scratch space that a scan uses again and again.
///
/// # Errors
/// `Corrupt` where the file is not a whole artifact; `Unavailable`, `Backend`.
pub(crate) fn read_record(
    file: &File,
    place: &dyn fmt::Display,
    buffer: &mut Vec<u8>,
) -> Result<Record, StoreError> {
    let corrupt = |what: &str| StoreError::corrupt(format!("{place}: {what}"));
    let reading = |error| failed(format_args!("reading the record of {place}"), error);

    let metadata = file.metadata().map_err(reading)?;
    if !metadata.is_file() {
        return Err(corrupt("this is no regular file"));
    }
    let length = metadata.len();
    let tail = usize::try_from(length).unwrap_or(TAIL_BYTES).min(TAIL_BYTES);
    buffer.resize(tail, 0);
    file.read_exact_at(buffer, length - tail as u64).map_err(reading)?;

    let footer_at =
        tail.checked_sub(FOOTER_BYTES).ok_or_else(|| corrupt("the file is too short to be an artifact"))?;
    let footer = buffer[footer_at..].to_vec();
    let (check, footer) = footer.split_at(32);
    let (record_length, footer) = footer.split_at(4);
    let (version, magic) = footer.split_at(4);
    if magic != MAGIC {
        return Err(corrupt("the footer is missing"));
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    if number(version) != FORMAT_VERSION {
        return Err(corrupt("the footer is of an unknown version"));
    }
    let (stored_length, record_length) = (number(record_length), number(record_length) as usize);
    let bytes = length
        .checked_sub((FOOTER_BYTES + record_length) as u64)
        .filter(|_| record_length <= MAX_RECORD_BYTES)
        .ok_or_else(|| corrupt("the footer tells a record longer than the file"))?;
    let json = if record_length <= footer_at {
        &buffer[footer_at - record_length..footer_at]
    } else {
        buffer.resize(record_length, 0);
        file.read_exact_at(buffer, bytes).map_err(reading)?;
        &buffer[..]
    };
    if checksum(json, stored_length).as_bytes() != check {
        return Err(corrupt("the record was altered"));
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| corrupt("the record is unreadable").with_source(error))?;
    if record.size != bytes {
        return Err(corrupt("the file holds more or fewer bytes than the record says"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use artifact_store_core::{Digest, PutOptions, Record, Scope, Timestamp};

    use super::{Key, encode, is_temp_name, is_token, read_record};

    fn record() -> Record {
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        Record::new(
            scope,
            PutOptions::default(),
            Digest::of(b"hello"),
            5,
            Timestamp::from_micros(1_767_323_045_000_006),
        )
    }

    #[test]
    fn the_form_of_version_1_stays_as_it_is() {
        let end = encode(&record()).unwrap();
        let (json, footer) = end.split_at(end.len() - 48);
        assert_eq!(
            std::str::from_utf8(json).unwrap(),
            "{\"id\":\"default_2cf24dba5fb0a30e26e83b2ac5b9e29e\",\
             \"digest\":\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\",\"size\":5,\
             \"scope\":{\"tenant\":\"acme\",\"user\":\"ada\",\"session\":\"s-1\"},\
             \"created_at\":\"2026-01-02T03:04:05.000006Z\",\
             \"options\":{\"namespace\":\"default\",\"source\":\"user_upload\"}}"
        );
        let length = u32::try_from(json.len()).unwrap().to_le_bytes();
        assert_eq!(&footer[..32], Digest::of(&[json, &length[..]].concat()).as_bytes());
        assert_eq!(&footer[32..], [&length[..], &[1, 0, 0, 0], b"ARTSTORE"].concat());
    }

    #[test]
    fn what_is_encoded_reads_back_whatever_the_buffer_held() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.write_all(&encode(&record()).unwrap()).unwrap();
        for mut buffer in [Vec::new(), vec![7; 100_000]] {
            assert_eq!(read_record(&file, &"here", &mut buffer).unwrap(), record());
        }
    }

    #[test]
    fn names_of_the_store_are_told_from_others() {
        let record = record();
        let key = Key::new(&record.scope, &record.id);
        assert!(key.dirs.iter().chain([&key.file]).all(|token| is_token(token.as_str())));
        assert!(key.path().starts_with(&key.leaf()));
        for foreign in
            ["", ".", "..", ".DS_Store", "lost+found", ".nfs000000000000000100000001", "a.b", "acme"]
        {
            assert!(!is_token(foreign) && !is_temp_name(foreign), "{foreign}");
        }
        assert!(is_temp_name("put-0123456789abcdef0123456789abcdef"));
        assert!(!is_temp_name("put-0123456789abcdef0123456789abcdeF"));
    }
}
