//! A file on its way to be published: [`TempFile`].
//!
//! It is locked from its making to its end, so that a sweep in any process can tell it from the orphan of a process that
//! died: the operating system drops a lock with its process. This module must never know what the file holds.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use artifact_store_core::{Bytes, StoreError};
use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::dirs::{FILE_MODE, give_owner_of};
use crate::error::{failed, is_unsupported, no_randomness};
use crate::layout::TEMP_PREFIX;

/// Small pieces are gathered up to this many bytes before they are written.
const GATHER_BYTES: usize = 64 * 1024;

/// A temporary file. Dropped before it is published, it is removed.
#[derive(Debug)]
pub(crate) struct TempFile {
    file: Option<File>,
    name: String,
    tmp: Arc<OwnedFd>,
    linked: bool,
}

/// Why there is no temporary file.
#[derive(Debug)]
pub(crate) enum TempError {
    Unnamed(StoreError),
    Refused(Errno),
}

impl From<TempError> for StoreError {
    fn from(reason: TempError) -> Self {
        match reason {
            TempError::Unnamed(error) => error,
            TempError::Refused(error) => failed("making a temporary file", error),
        }
    }
}

/// A name that no other temporary file has or had.
pub(crate) fn random_name() -> Result<String, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(no_randomness)?;
    Ok(format!("{TEMP_PREFIX}{:032x}", u128::from_ne_bytes(random)))
}

impl TempFile {
    /// Makes an empty file in the directory `tmp` and locks it.
    pub(crate) fn create(tmp: &Arc<OwnedFd>) -> Result<Self, TempError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = random_name().map_err(TempError::Unnamed)?;
            let file = retry_on_intr(|| rustix::fs::openat(tmp, name.as_str(), flags, FILE_MODE))
                .map_err(TempError::Refused)?;
            give_owner_of(&file, tmp).map_err(TempError::Refused)?;
            let made = Self { file: Some(File::from(file)), name, tmp: Arc::clone(tmp), linked: true };
            let Some(file) = &made.file else { continue };
            match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::LockExclusive)) {
                // Without locks on this file system no sweep gets one either: orphans stay until an operator acts.
                Ok(()) => {}
                Err(error) if is_unsupported(error) => {}
                Err(error) => return Err(TempError::Refused(error)),
            }
            // A sweep may have taken the lock, and with it the file, in between.
            if rustix::fs::fstat(file).map_err(TempError::Refused)?.st_nlink > 0 {
                return Ok(made);
            }
        }
    }

    /// Appends `pieces`, then `end`.
    pub(crate) fn append(&mut self, pieces: &[Bytes], end: &[u8]) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Err(StoreError::backend("a temporary file was used after its end"));
        };
        let mut writer = BufWriter::with_capacity(GATHER_BYTES, file);
        let written = pieces.iter().try_for_each(|piece| writer.write_all(piece));
        let written = written.and_then(|()| writer.write_all(end)).and_then(|()| writer.flush());
        // Taken apart, so that dropping the writer does not try what just failed once more.
        let (_, _) = writer.into_parts();
        written.map_err(|error| failed("writing an artifact", error))
    }

    /// Waits until the disk holds the bytes.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| failed("syncing an artifact", error))
    }

    /// Gives the file its name in `dir`, in one atomic step, unless something stands there: then `EXIST`. `NOENT`
    /// where the directory was removed.
    pub(crate) fn publish(&mut self, dir: impl AsFd, name: &str) -> Result<(), Errno> {
        match self.rename(&dir, name) {
            // A file system that cannot rename without replacing; a hard link never replaces.
            Err(error) if is_unsupported(error) => match self.link(dir, name) {
                // Mounts of object stores answer so where they know no links; a disk that fails does so with the next put too.
                Err(Errno::IO) => Err(Errno::NOTSUP),
                linked => linked,
            },
            renamed => renamed,
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn rename(&mut self, dir: impl AsFd, name: &str) -> Result<(), Errno> {
        use rustix::fs::RenameFlags;
        rustix::fs::renameat_with(&self.tmp, self.name.as_str(), dir, name, RenameFlags::NOREPLACE)?;
        self.linked = false;
        Ok(())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn rename(&mut self, _dir: impl AsFd, _name: &str) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    fn link(&mut self, dir: impl AsFd, name: &str) -> Result<(), Errno> {
        rustix::fs::linkat(&self.tmp, self.name.as_str(), dir, name, AtFlags::empty())?;
        // It is published; its first name goes now or with a sweep.
        self.unlink();
        Ok(())
    }

    fn unlink(&mut self) {
        if std::mem::take(&mut self.linked) {
            // The name is random and used once, so this cannot meet another file; what fails is left to a sweep.
            let _ = rustix::fs::unlinkat(&self.tmp, self.name.as_str(), AtFlags::empty());
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let unpublished = self.linked;
        self.unlink();
        // Freeing the blocks of a large file takes a while and happens at its last close, so not on an executor's thread.
        if unpublished
            && let Some(file) = self.file.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(runtime.spawn_blocking(move || drop(file)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use artifact_store_core::Bytes;
    use rustix::io::Errno;

    use super::TempFile;
    use crate::dirs::make_dir;

    fn dirs(home: &tempfile::TempDir) -> (Arc<OwnedFd>, OwnedFd) {
        let home = fs::File::open(home.path()).unwrap();
        (Arc::new(make_dir(&home, "tmp").unwrap()), make_dir(&home, "to").unwrap())
    }

    type Way = fn(&mut TempFile, &OwnedFd, &str) -> Result<(), Errno>;
    const WAYS: [Way; 2] =
        [|file, dir, name| file.publish(dir, name), |file, dir, name| file.link(dir, name)];

    #[test]
    fn neither_way_to_publish_replaces_and_both_leave_no_temporary_file() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = dirs(&home);
        for (way, name) in WAYS.into_iter().zip(["a", "b"]) {
            for (text, published) in [("first", Ok(())), ("second", Err(Errno::EXIST))] {
                let mut file = TempFile::create(&from).unwrap();
                file.append(&[Bytes::from(text)], b"!").unwrap();
                assert_eq!(way(&mut file, &to, name), published);
            }
            assert_eq!(fs::read_to_string(home.path().join("to").join(name)).unwrap(), "first!");
        }
        assert_eq!(fs::read_dir(home.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn publishing_into_a_directory_that_was_removed_says_so() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = dirs(&home);
        fs::remove_dir(home.path().join("to")).unwrap();
        for way in WAYS {
            assert_eq!(way(&mut TempFile::create(&from).unwrap(), &to, "a"), Err(Errno::NOENT));
        }
    }
}
