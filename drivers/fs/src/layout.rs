//! Names below the root, and the format of an artifact's file: bytes, nodes of their BLAKE3 tree, record, footer.
//!
//! [`FORMAT_VERSION`] identifies the format; a changed format needs a new version. This module must never open, create
//! or remove anything. It reads from files that its callers opened.

use std::fmt;
use std::fs::File;

use artifact_store_core::{
    ArtifactId, Digest, HashTree, Hasher, KeyToken, MAX_KEY_TOKEN_BYTES, Record, Scope, StoreError,
};

use crate::error::map_io_error;
use crate::read::{ReadMode, read_exact_at};

/// The format version that this build writes. It also reads version 1, whose files have no nodes.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The format version before [`FORMAT_VERSION`].
pub(crate) const PREVIOUS_FORMAT_VERSION: u32 = 1;
/// The name of the marker file. A directory that contains this file is a store.
pub(crate) const FORMAT_FILE: &str = "FORMAT";
/// The word before the version in the marker file.
pub(crate) const FORMAT_NAME: &str = "artifact-store-fs";
/// The directory of temporary files, which are not published yet.
pub(crate) const TMP_DIR: &str = "tmp";
/// The directory of published files.
pub(crate) const ARTIFACTS_DIR: &str = "artifacts";
/// The number of directories between [`ARTIFACTS_DIR`] and an artifact's file: tenant, user, session, task.
pub(crate) const DEPTH: usize = 4;

/// The prefix of a temporary file's name. 32 hex digits follow.
pub(crate) const TEMP_PREFIX: &str = "put-";
const TEMP_DIGITS: usize = 32;

/// The magic word: the last 8 bytes of every artifact's file.
const MAGIC: &[u8; 8] = b"ARTSTORE";
/// Length of the footer in bytes. Its fields, in this order:
/// - 32 bytes: the SHA-256 over the record and its length
/// - 4 bytes: the length of the record, little-endian
/// - 4 bytes: the format version, little-endian
/// - 8 bytes: the magic word
const FOOTER_BYTES: usize = 32 + 4 + 4 + MAGIC.len();
/// The largest encoded record, in bytes. The gate limits the options in a record to 64 KiB. The remaining bytes are for
/// the scope, the digest and JSON escapes.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// The number of bytes at the end of a file that are read first. If the options in the record are not very large, these
/// bytes contain the footer and the whole record.
const TAIL_BYTES: usize = 4096;

/// The path of an artifact's file below [`ARTIFACTS_DIR`]: a directory for each of tenant, user, session and task, then
/// the file.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactKey {
    pub(crate) dirs: [KeyToken; DEPTH],
    pub(crate) file: KeyToken,
}

impl ArtifactKey {
    pub(crate) fn new(scope: &Scope, id: &ArtifactId) -> Self {
        Self { dirs: KeyToken::of_scope(scope), file: KeyToken::of_id(id) }
    }

    /// The path of the leaf directory below [`ARTIFACTS_DIR`].
    pub(crate) fn leaf_path(&self) -> String {
        // `file_path` appends one more name, so there is space for `DEPTH + 1` names.
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
    pub(crate) fn file_path(&self) -> String {
        let mut path = self.leaf_path();
        path.push('/');
        path.push_str(self.file.as_str());
        path
    }
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ARTIFACTS_DIR}/{}", self.file_path())
    }
}

/// Whether `name` has the form of a [`KeyToken`]: a readable stub of 1 to 12 characters, a dot, and a hash of 32 base32
/// characters. Below [`ARTIFACTS_DIR`], this driver creates only such names.
pub(crate) fn is_key_token(name: &str) -> bool {
    name.len() <= MAX_KEY_TOKEN_BYTES
        && name.split_once('.').is_some_and(|(stub, hash)| {
            (1..=12).contains(&stub.len())
                && stub.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
                && hash.len() == 32
                && hash.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        })
}

/// Whether `name` has the form of this driver's temporary files.
pub(crate) fn is_temp_name(name: &str) -> bool {
    name.strip_prefix(TEMP_PREFIX).is_some_and(|digits| {
        digits.len() == TEMP_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Encodes the trailer of an artifact's file. The trailer follows the artifact's bytes and the nodes of their tree. It
/// contains the record and the footer.
///
/// # Errors
/// `InvalidArgument` if the record is too large. `Backend` if the record cannot be encoded, or if decoding would fail
/// or return another record. A put calls this function before it publishes the file, so every acknowledged artifact can
/// be read.
pub(crate) fn encode_trailer(record: &Record) -> Result<Vec<u8>, StoreError> {
    let mut trailer = serde_json::to_vec(record)
        .map_err(|error| StoreError::backend("the record cannot be encoded as JSON").with_source(error))?;
    if trailer.len() > MAX_RECORD_BYTES {
        return Err(StoreError::invalid(format!(
            "the record has {} bytes of JSON; the maximum is {MAX_RECORD_BYTES}",
            trailer.len()
        )));
    }
    if serde_json::from_slice::<Record>(&trailer).ok().as_ref() != Some(record) {
        return Err(StoreError::backend(
            "the record would not read back as it was put: its metadata may be nested too deeply",
        ));
    }
    let length = u32::try_from(trailer.len()).map_err(|error| {
        StoreError::backend("the record is too long for its length field").with_source(error)
    })?;
    let checksum = record_checksum(&trailer, length);
    trailer.extend_from_slice(checksum.as_bytes());
    trailer.extend_from_slice(&length.to_le_bytes());
    trailer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    trailer.extend_from_slice(MAGIC);
    Ok(trailer)
}

/// The SHA-256 of the encoded record followed by its `length`, as stored in the footer.
fn record_checksum(record: &[u8], length: u32) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(record);
    hasher.update(&length.to_le_bytes());
    hasher.finish()
}

/// The fields of a footer that are needed to check the record.
struct Footer<'a> {
    /// The result of [`record_checksum`] when the file was written.
    record_checksum: &'a [u8],
    record_length: u32,
}

impl<'a> Footer<'a> {
    /// Splits a footer into its fields and checks the magic word and the format version.
    ///
    /// # Errors
    /// The problem, as the end of an error message.
    fn parse(footer: &'a [u8; FOOTER_BYTES]) -> Result<Self, &'static str> {
        let (record_checksum, after_checksum) = footer.split_at(32);
        let (record_length, after_length) = after_checksum.split_at(4);
        let (version, magic) = after_length.split_at(4);
        if magic != MAGIC {
            return Err("the footer is missing");
        }
        if !matches!(u32_from_le(version), FORMAT_VERSION | PREVIOUS_FORMAT_VERSION) {
            return Err("the footer has an unknown version");
        }
        Ok(Self { record_checksum, record_length: u32_from_le(record_length) })
    }
}

/// The number in four little-endian `bytes`.
fn u32_from_le(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
}

/// What the buffer of [`read_record`] contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    WholeFile,
    Part,
}

/// Reads the record from the end of an artifact's file. The artifact's bytes are the range `0..record.size` of the
/// file.
///
/// `path` names the file in errors. `buffer` is used for reading. A scan passes the same buffer for every file, so that
/// it does not allocate a buffer for each. If the file has at most `whole_bytes` bytes, `buffer` contains the whole file
/// afterwards.
///
/// # Errors
/// `Corrupt` if the file is not a whole artifact; `Unavailable`, `Backend`.
pub(crate) fn read_record(
    file: &File,
    mode: ReadMode,
    path: &dyn fmt::Display,
    whole_bytes: usize,
    buffer: &mut Vec<u8>,
) -> Result<(Record, Tail), StoreError> {
    let corrupt = |problem: &str| StoreError::corrupt(format!("{path}: {problem}"));
    let read_error = |error| map_io_error(format_args!("reading the record of {path}"), error);

    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(corrupt("this is not a regular file"));
    }
    let file_length = metadata.len();
    let tail_length = usize::try_from(file_length).unwrap_or(usize::MAX);
    let tail = if tail_length <= TAIL_BYTES.max(whole_bytes) { Tail::WholeFile } else { Tail::Part };
    let tail_length = if tail == Tail::WholeFile { tail_length } else { TAIL_BYTES };
    buffer.resize(tail_length, 0);
    read_exact_at(file, mode, buffer, file_length - tail_length as u64).map_err(read_error)?;

    let Some((before_footer, footer_bytes)) = buffer.split_last_chunk::<FOOTER_BYTES>() else {
        return Err(corrupt("the file is too short to be an artifact"));
    };
    let footer_offset = before_footer.len();
    // This is a copy, because `buffer` is overwritten below if the record is longer than the tail.
    let footer_bytes: [u8; FOOTER_BYTES] = *footer_bytes;
    let footer = Footer::parse(&footer_bytes).map_err(corrupt)?;
    let record_length = footer.record_length as usize;
    let trailer_length = (record_length + FOOTER_BYTES) as u64;
    if record_length > MAX_RECORD_BYTES || trailer_length > file_length {
        return Err(corrupt("the record length in the footer is larger than the file or the maximum"));
    }
    // The record begins at this offset. The bytes of the artifact and the nodes of their tree are before it.
    let record_offset = file_length - trailer_length;
    // If the record is longer than the part of the tail before the footer, the whole record is read separately.
    let json = if record_length <= footer_offset {
        &buffer[footer_offset - record_length..footer_offset]
    } else {
        buffer.resize(record_length, 0);
        read_exact_at(file, mode, buffer, record_offset).map_err(read_error)?;
        &buffer[..]
    };
    if record_checksum(json, footer.record_length).as_bytes() != footer.record_checksum {
        return Err(corrupt("the record does not match its checksum"));
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| corrupt("the record cannot be decoded").with_source(error))?;
    if record.size.checked_add(HashTree::nodes_len(&record)) != Some(record_offset) {
        return Err(corrupt("the number of bytes in the file differs from the size in the record"));
    }
    Ok((record, tail))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use artifact_store_core::{Digest, PutOptions, Record, Scope, Timestamp};

    use super::{ArtifactKey, Tail, encode_trailer, is_key_token, is_temp_name, read_record};
    use crate::read::ReadMode;

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
    fn the_format_of_version_2_stays_as_it_is() {
        let trailer = encode_trailer(&record()).unwrap();
        let (json, footer) = trailer.split_at(trailer.len() - 48);
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
        assert_eq!(&footer[32..], [&length[..], &[2, 0, 0, 0], b"ARTSTORE"].concat());
    }

    #[test]
    fn an_encoded_record_reads_back_equal_whatever_the_buffer_contained_before() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.write_all(&encode_trailer(&record()).unwrap()).unwrap();
        for mut buffer in [Vec::new(), vec![7; 100_000]] {
            let read = read_record(&file, ReadMode::Blocking, &"here", 0, &mut buffer).unwrap();
            assert_eq!(read, (record(), Tail::WholeFile));
        }
    }

    #[test]
    fn names_that_the_store_creates_are_distinguished_from_other_names() {
        let record = record();
        let key = ArtifactKey::new(&record.scope, &record.id);
        assert!(key.dirs.iter().chain([&key.file]).all(|token| is_key_token(token.as_str())));
        assert!(key.file_path().starts_with(&key.leaf_path()));
        for foreign in
            ["", ".", "..", ".DS_Store", "lost+found", ".nfs000000000000000100000001", "a.b", "acme"]
        {
            assert!(!is_key_token(foreign) && !is_temp_name(foreign), "{foreign}");
        }
        assert!(is_temp_name("put-0123456789abcdef0123456789abcdef"));
        assert!(!is_temp_name("put-0123456789abcdef0123456789abcdeF"));
    }
}
