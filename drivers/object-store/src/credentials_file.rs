//! Reads files of credentials: [`read_small_file`].
//!
//! This module must never know what is in a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a file of text that has at most `max_bytes` bytes. A longer one is refused, and never cut. An error is the end
/// of a sentence about the file, and does not repeat its content.
pub(crate) fn read_small_file(path: &Path, max_bytes: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("has more than {max_bytes} bytes, so it is not a file of credentials"));
    }
    String::from_utf8(bytes).map_err(|_| "cannot be read: it is not text in UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_more_than_the_limit_is_refused_and_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read_small_file(&path, 4)
        };
        assert_eq!(read(b""), Ok(String::new()));
        assert_eq!(read(b"aGk="), Ok("aGk=".to_owned()));
        let refused = Err("has more than 4 bytes, so it is not a file of credentials".to_owned());
        assert_eq!(read(b"aGk=a"), refused);
        // Cut at the limit, this would not be UTF-8.
        assert_eq!(read("aaaaä".as_bytes()), refused);
        assert!(read(b"\xff").unwrap_err().starts_with("cannot be read"));
        assert!(
            read_small_file(&folder.path().join("missing"), 4).unwrap_err().starts_with("cannot be read")
        );
    }
}
