//! A JWK set file that can change while the server runs: [`JwksFile`]. This module must never parse the content.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};

use super::jwks::MAX_JWKS_BYTES;

/// If the last change of a file is older than this, unchanged metadata proves unchanged content. After a more recent
/// change, unchanged metadata proves nothing: two writes within one tick of the file system clock have the same times.
const MIN_SETTLED_AGE: Duration = Duration::from_secs(2);

/// The file, with its state at the last read.
#[derive(Debug)]
pub(super) struct JwksFile {
    path: PathBuf,
    /// The metadata, taken before the last read of the content. `None` before the first read and after an error. `None`
    /// also if the last change was not older than [`MIN_SETTLED_AGE`] at the time of the read.
    stamp: Option<FileStamp>,
    /// The SHA-256 of the content at the last read. `None` before the first read.
    content_digest: Option<[u8; 32]>,
}

/// The metadata that shows whether a file was written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    /// The last change of the content, in seconds and nanoseconds since the Unix epoch.
    modified: (i64, i64),
    /// The last change of the content or the metadata, in seconds and nanoseconds since the Unix epoch.
    changed: (i64, i64),
}

impl JwksFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: None, content_digest: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content if it differs from the content of the last read, otherwise `None`. The first successful read
    /// always returns the content. Blocks on the disk.
    ///
    /// # Errors
    /// The rest of a sentence that starts with the path.
    pub(super) fn read_if_changed(&mut self) -> Result<Option<Vec<u8>>, String> {
        let previous = self.stamp.take();
        // The metadata is read first, so that the next call notices a write during this read.
        let stamp = FileStamp::of(&self.path).map_err(|error| format!("cannot be opened: {error}"))?;
        if previous == Some(stamp) {
            self.stamp = previous;
            return Ok(None);
        }
        let json = read_content(&self.path)?;
        self.stamp = stamp.is_settled().then_some(stamp);
        let mut content_digest = [0; 32];
        content_digest.copy_from_slice(digest(&SHA256, &json).as_ref());
        let changed = self.content_digest.replace(content_digest) != Some(content_digest);
        Ok(changed.then_some(json))
    }

    /// Returns the content, even if it has not changed. Never returns `Ok(None)`. Blocks on the disk.
    ///
    /// # Errors
    /// The rest of a sentence that starts with the path.
    pub(super) fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        (self.stamp, self.content_digest) = (None, None);
        self.read_if_changed()
    }
}

impl FileStamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Returns whether the last change is older than [`MIN_SETTLED_AGE`].
    fn is_settled(&self) -> bool {
        let (modified_seconds, _) = self.modified;
        let (changed_seconds, _) = self.changed;
        let latest_seconds = u64::try_from(modified_seconds.max(changed_seconds)).unwrap_or_default();
        // If the time is in the future, `age` is an error, and the file is not settled.
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(latest_seconds));
        age.is_ok_and(|age| age > MIN_SETTLED_AGE)
    }
}

/// Reads the file, which must not be larger than [`MAX_JWKS_BYTES`].
fn read_content(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut json = Vec::new();
    // One byte more than the limit is enough to detect a file that is too large.
    file.take(MAX_JWKS_BYTES as u64 + 1)
        .read_to_end(&mut json)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if json.len() > MAX_JWKS_BYTES {
        return Err("is larger than 1 MiB, the limit for a JWK set".into());
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_once_even_with_the_same_length_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        let mut file = JwksFile::new(&path);
        assert!(file.read_if_changed().unwrap_err().contains("cannot be opened"));
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let time = SystemTime::now();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        // The last change is always recent. So equal metadata proves nothing, and each call reads the content.
        for text in ["aaaa", "bbbb", "aaaa"] {
            write(text);
            assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(text.as_bytes()));
            assert_eq!(file.read_if_changed().unwrap(), None);
        }
    }

    #[test]
    fn a_file_that_was_replaced_by_an_old_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("jwks.json"), dir.path().join("other.json"));
        let long_ago = SystemTime::now() - Duration::from_hours(1);
        for (file_path, text) in [(&path, "aaaa"), (&other, "bbbb")] {
            std::fs::write(file_path, text).unwrap();
            std::fs::File::options().write(true).open(file_path).unwrap().set_modified(long_ago).unwrap();
        }
        let mut file = JwksFile::new(&path);
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"aaaa"[..]));
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"bbbb"[..]));
        std::fs::remove_file(&path).unwrap();
        assert!(file.read_if_changed().unwrap_err().contains("cannot be opened"));
        // A new file with the content of the last read is not a change.
        std::fs::write(&path, "bbbb").unwrap();
        assert_eq!(file.read_if_changed().unwrap(), None);
    }
}
