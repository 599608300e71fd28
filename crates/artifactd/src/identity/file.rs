//! A JWKS file that may be replaced while the server runs: [`KeysFile`]. It must never know what is in it.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};

use super::MAX_JWKS_BYTES;

/// How long a file has to stand still before its metadata alone is trusted: two writes within one tick of a file system's clock
/// leave the same times.
const SETTLED: Duration = Duration::from_secs(2);

/// The file, and what was seen of it.
#[derive(Debug)]
pub(super) struct KeysFile {
    path: PathBuf,
    /// What its metadata was before it was read last; `None` where that does not count.
    stamp: Option<Stamp>,
    content: Option<[u8; 32]>,
}

/// What changes whenever a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl KeysFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: None, content: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The content, where it is another one than at the last look. It reads the disk, and so may block.
    ///
    /// # Errors
    /// Half a sentence that goes on after the path.
    pub(super) fn look(&mut self) -> Result<Option<Vec<u8>>, String> {
        let known = self.stamp.take();
        // Looked at before it is read: what is written meanwhile shows the next time.
        let stamp = Stamp::of(&self.path).map_err(|error| format!("cannot be opened: {error}"))?;
        if known == Some(stamp) {
            self.stamp = known;
            return Ok(None);
        }
        let json = read(&self.path)?;
        self.stamp = stamp.is_settled().then_some(stamp);
        let mut content = [0; 32];
        content.copy_from_slice(digest(&SHA256, &json).as_ref());
        let changed = self.content.replace(content) != Some(content);
        Ok(changed.then_some(json))
    }
}

impl KeysFile {
    /// The content, whatever was seen of the file before. It reads the disk, and so may block.
    ///
    /// # Errors
    /// Half a sentence that goes on after the path.
    pub(super) fn read_again(&mut self) -> Result<Option<Vec<u8>>, String> {
        (self.stamp, self.content) = (None, None);
        self.look()
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn is_settled(&self) -> bool {
        let latest = u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or_default();
        // A time that lies ahead says nothing.
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(latest));
        age.is_ok_and(|age| age > SETTLED)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut json = Vec::new();
    file.take(MAX_JWKS_BYTES as u64 + 1)
        .read_to_end(&mut json)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if json.len() > MAX_JWKS_BYTES {
        return Err("is larger than 1 MiB, which no JWK set needs".into());
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_once_even_with_the_same_length_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        let mut file = KeysFile::new(&path);
        assert!(file.look().unwrap_err().contains("cannot be opened"));
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let time = SystemTime::now();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        for text in ["aaaa", "bbbb", "aaaa"] {
            write(text);
            assert_eq!(file.look().unwrap().as_deref(), Some(text.as_bytes()));
            assert_eq!(file.look().unwrap(), None);
        }
    }

    #[test]
    fn a_file_that_was_replaced_by_an_old_one_shows() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("jwks.json"), folder.path().join("other.json"));
        let long_ago = SystemTime::now() - Duration::from_hours(1);
        for (at, text) in [(&path, "aaaa"), (&other, "bbbb")] {
            std::fs::write(at, text).unwrap();
            std::fs::File::options().write(true).open(at).unwrap().set_modified(long_ago).unwrap();
        }
        let mut file = KeysFile::new(&path);
        assert_eq!(file.look().unwrap().as_deref(), Some(&b"aaaa"[..]));
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(file.look().unwrap().as_deref(), Some(&b"bbbb"[..]));
        std::fs::remove_file(&path).unwrap();
        assert!(file.look().unwrap_err().contains("cannot be opened"));
        std::fs::write(&path, "bbbb").unwrap();
        assert_eq!(file.look().unwrap(), None);
    }
}
