//! Temporary files: [`TempFile`]. A temporary file becomes an artifact when it is published.
//!
//! A temporary file is locked directly after its creation and stays locked until it is closed. The operating system
//! releases the lock when the process ends. So a sweep in any process can distinguish a file in use from an orphan.
//! This module must never know what the file contains.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use artifact_store_core::{Bytes, StoreError};
use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::dirs::{FILE_MODE, inherit_owner};
use crate::error::{is_unsupported, map_io_error, randomness_error};
use crate::layout::TEMP_PREFIX;

/// Small chunks are buffered up to this many bytes before they are written.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// A temporary file. Dropping this value before the file is published removes the file.
#[derive(Debug)]
pub(crate) struct TempFile {
    /// `None` only while this value is dropped.
    file: Option<File>,
    /// The temporary name in `tmp`.
    name: String,
    tmp: Arc<OwnedFd>,
    /// Whether the file still has its temporary name.
    has_temp_name: bool,
}

/// Why a temporary file could not be created.
#[derive(Debug)]
pub(crate) enum TempFileError {
    Randomness(StoreError),
    Io(Errno),
}

impl From<TempFileError> for StoreError {
    fn from(error: TempFileError) -> Self {
        match error {
            TempFileError::Randomness(error) => error,
            TempFileError::Io(error) => map_io_error("creating a temporary file", error),
        }
    }
}

/// A random name that no other temporary file has or had.
pub(crate) fn random_temp_name() -> Result<String, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(randomness_error)?;
    Ok(format!("{TEMP_PREFIX}{:032x}", u128::from_ne_bytes(random)))
}

impl TempFile {
    /// Creates an empty file in the directory `tmp` and locks it.
    pub(crate) fn create(tmp: &Arc<OwnedFd>) -> Result<Self, TempFileError> {
        Self::create_with_owner(tmp, |file, tmp| inherit_owner(file, tmp))
    }

    /// As [`create`](Self::create). `set_owner` sets the owner of the file, given the file and the directory.
    fn create_with_owner(
        tmp: &Arc<OwnedFd>,
        set_owner: impl Fn(&File, &OwnedFd) -> Result<(), Errno>,
    ) -> Result<Self, TempFileError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = random_temp_name().map_err(TempFileError::Randomness)?;
            let file = retry_on_intr(|| rustix::fs::openat(tmp, name.as_str(), flags, FILE_MODE))
                .map_err(TempFileError::Io)?;
            // If a step below fails, dropping `created` removes the file.
            let created =
                Self { file: Some(File::from(file)), name, tmp: Arc::clone(tmp), has_temp_name: true };
            // `file` is always `Some` before the drop.
            let Some(file) = &created.file else { continue };
            set_owner(file, tmp).map_err(TempFileError::Io)?;
            match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::LockExclusive)) {
                Ok(()) => {}
                // This file system has no locks. A sweep removes only files that it can lock, so it keeps this file.
                // An operator must then remove orphans.
                Err(error) if is_unsupported(error) => {}
                Err(error) => return Err(TempFileError::Io(error)),
            }
            // Before this process locked the file, a sweep may have locked and removed it. Then the next iteration of
            // the loop creates another file.
            let still_exists = rustix::fs::fstat(file).map_err(TempFileError::Io)?.st_nlink > 0;
            if still_exists {
                return Ok(created);
            }
        }
    }

    /// Appends a large piece without a buffer.
    pub(crate) fn append_piece(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let Some(mut file) = self.file.as_ref() else { return Err(used_after_drop()) };
        file.write_all(piece).map_err(|error| map_io_error("writing an artifact", error))
    }

    /// Appends `chunks`, then `trailer`.
    pub(crate) fn append(&mut self, chunks: &[Bytes], trailer: &[u8]) -> Result<(), StoreError> {
        let Some(file) = &self.file else { return Err(used_after_drop()) };
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        let result = chunks.iter().try_for_each(|chunk| writer.write_all(chunk));
        let result = result.and_then(|()| writer.write_all(trailer)).and_then(|()| writer.flush());
        // `into_parts` discards the buffered bytes. Dropping the writer instead would try a failed write again.
        let (_, _) = writer.into_parts();
        result.map_err(|error| map_io_error("writing an artifact", error))
    }

    /// Syncs the bytes to the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| map_io_error("syncing an artifact", error))
    }

    /// Gives the file the name `name` in `dir`, in one atomic step.
    ///
    /// # Errors
    /// `EXIST` if the name exists already. `NOENT` if the directory was removed. An error of [`is_unsupported`] if the
    /// file system supports neither a rename with `NOREPLACE` nor hard links. All other errors of the file system.
    pub(crate) fn publish(&mut self, dir: impl AsFd, name: &str) -> Result<(), Errno> {
        match self.rename(&dir, name) {
            // The file system does not support `NOREPLACE`. Creating a hard link never replaces a file either.
            Err(error) if is_unsupported(error) => match self.link(dir, name) {
                // A mount of an object store may return `IO` if it does not support hard links. A failing disk can
                // return `IO` too. Then later calls fail as well and report the failing disk.
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
        self.has_temp_name = false;
        Ok(())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn rename(&mut self, _dir: impl AsFd, _name: &str) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    fn link(&mut self, dir: impl AsFd, name: &str) -> Result<(), Errno> {
        rustix::fs::linkat(&self.tmp, self.name.as_str(), dir, name, AtFlags::empty())?;
        self.remove_temp_name();
        Ok(())
    }

    /// Removes the temporary name if the file still has it. This deletes the file if it was not published.
    fn remove_temp_name(&mut self) {
        if self.has_temp_name {
            self.has_temp_name = false;
            // The name is random and never reused, so no other file is removed. If the removal fails, a sweep removes
            // the name later.
            let _ = rustix::fs::unlinkat(&self.tmp, self.name.as_str(), AtFlags::empty());
        }
    }
}

fn used_after_drop() -> StoreError {
    StoreError::backend("a temporary file was used after it was dropped")
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let unpublished = self.has_temp_name;
        self.remove_temp_name();
        // Closing a removed file frees its blocks, which takes long if the file is large. So the file is closed on
        // tokio's blocking pool. Outside of a tokio runtime it is closed here.
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

    use super::{TempFile, TempFileError};
    use crate::dirs::open_or_create_dir;

    /// Creates the directories `tmp` and `to` in `test_dir`, and returns their handles.
    fn create_dirs(test_dir: &tempfile::TempDir) -> (Arc<OwnedFd>, OwnedFd) {
        let test_dir = fs::File::open(test_dir.path()).unwrap();
        (
            Arc::new(open_or_create_dir(&test_dir, "tmp").unwrap()),
            open_or_create_dir(&test_dir, "to").unwrap(),
        )
    }

    type PublishFn = fn(&mut TempFile, &OwnedFd, &str) -> Result<(), Errno>;
    /// The two ways to publish a file: by a rename if the file system supports it, and by a hard link.
    const PUBLISH_FNS: [PublishFn; 2] =
        [|file, dir, name| file.publish(dir, name), |file, dir, name| file.link(dir, name)];

    #[test]
    fn neither_method_of_publishing_replaces_a_file_and_both_leave_no_temporary_file() {
        let test_dir = tempfile::tempdir().unwrap();
        let (from, to) = create_dirs(&test_dir);
        for (publish, name) in PUBLISH_FNS.into_iter().zip(["a", "b"]) {
            for (text, published) in [("first", Ok(())), ("second", Err(Errno::EXIST))] {
                let mut file = TempFile::create(&from).unwrap();
                file.append(&[Bytes::from(text)], b"!").unwrap();
                assert_eq!(publish(&mut file, &to, name), published);
            }
            assert_eq!(fs::read_to_string(test_dir.path().join("to").join(name)).unwrap(), "first!");
        }
        assert_eq!(fs::read_dir(test_dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_whose_owner_cannot_be_set_is_removed() {
        let test_dir = tempfile::tempdir().unwrap();
        let (tmp, _) = create_dirs(&test_dir);
        let failed = TempFile::create_with_owner(&tmp, |_, _| Err(Errno::PERM));
        assert!(matches!(failed, Err(TempFileError::Io(Errno::PERM))), "{failed:?}");
        assert_eq!(fs::read_dir(test_dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn publishing_into_a_removed_directory_returns_not_found() {
        let test_dir = tempfile::tempdir().unwrap();
        let (from, to) = create_dirs(&test_dir);
        fs::remove_dir(test_dir.path().join("to")).unwrap();
        for publish in PUBLISH_FNS {
            assert_eq!(publish(&mut TempFile::create(&from).unwrap(), &to, "a"), Err(Errno::NOENT));
        }
    }
}
