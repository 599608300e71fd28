//! Writes a file atomically: after a failure, the path is as it was before. Only a pipe or a device is written
//! directly. This module must never know what is written.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::error::CommandError;

/// What to do if a file exists at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfExists {
    Replace,
    Fail,
}

/// The path of a file to write, and what [`new`](Self::new) has found there.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    /// Whether the path is a pipe or a device. Such a file is written directly and not replaced.
    is_special: bool,
    if_exists: IfExists,
    /// The metadata of the file that is replaced. The new file gets the same mode and, if permitted, the same owner.
    /// `None` if no file is replaced.
    existing: Option<Box<Metadata>>,
}

impl OutputFile {
    /// Checks the path. Does not change anything on the disk.
    ///
    /// # Errors
    /// The path is a directory, a file exists there and must not be replaced, or the metadata of the path cannot be
    /// read.
    pub(super) fn new(path: &Path, if_exists: IfExists) -> Result<Self, CommandError> {
        let name = path.display();
        let new_file = |path: PathBuf| Self { path, is_special: false, if_exists, existing: None };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(CommandError::usage(format!("{name} is a directory; name a file in it")))
            }
            Ok(metadata) if !metadata.is_file() => Ok(Self { is_special: true, ..new_file(path.to_owned()) }),
            Ok(_) if if_exists == IfExists::Fail => {
                Err(CommandError::failed(format!("{name} exists; give --force to replace it")))
            }
            // If the path is a symbolic link, its target is replaced and not the link.
            Ok(metadata) => match path.canonicalize() {
                Ok(path) => Ok(Self { existing: Some(Box::new(metadata)), ..new_file(path) }),
                Err(error) => Err(CommandError::caused_by(format!("{name} cannot be replaced"), &error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(new_file(path.to_owned())),
            Err(error) => Err(CommandError::caused_by(format!("{name} cannot be written"), &error)),
        }
    }

    /// Creates a temporary file in the directory of the path. If the path is a pipe or a device, opens the pipe or the
    /// device and creates no file.
    pub(super) async fn create(self) -> Result<FileWriter, CommandError> {
        let opened = if self.is_special {
            // Opening a pipe may wait for its reader.
            File::options().write(true).open(&self.path).await.map(|file| (file, None))
        } else {
            let dir = match self.path.parent() {
                Some(dir) if !dir.as_os_str().is_empty() => dir,
                _ => Path::new("."),
            };
            create_temp_file(dir, self.existing.as_deref())
                .map(|(file, temp)| (File::from_std(file), Some(temp)))
        };
        match opened {
            Ok((file, temp)) => Ok(FileWriter { file, temp, output: self }),
            Err(error) => Err(self.write_error(&error)),
        }
    }

    fn write_error(&self, error: &io::Error) -> CommandError {
        CommandError::caused_by(format!("{} cannot be written", self.path.display()), error)
    }
}

/// Writes a temporary file. If the writer is dropped before [`finish`](Self::finish), the temporary file is deleted. A
/// pipe or a device is written directly.
#[derive(Debug)]
pub(super) struct FileWriter {
    file: File,
    /// `None` for a pipe or a device.
    temp: Option<TempPath>,
    output: OutputFile,
}

impl FileWriter {
    /// The path of the pipe or device that is written directly. `None` if a temporary file is written.
    pub(super) fn special_path(&self) -> Option<&Path> {
        self.temp.is_none().then_some(&self.output.path)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.file.write_all(bytes).await.map_err(|error| self.output.write_error(&error))
    }

    /// Waits until the bytes are on the disk, so that a crash after [`finish`](Self::finish) cannot leave an incomplete
    /// file.
    pub(super) async fn sync(&mut self) -> Result<(), CommandError> {
        let flushed = self.file.flush().await;
        let synced = match flushed {
            // A pipe or a device is not synchronized.
            Ok(()) if self.temp.is_some() => self.file.sync_all().await,
            other => other,
        };
        synced.map_err(|error| self.output.write_error(&error))
    }

    /// Renames the temporary file to the path of the output. With [`IfExists::Fail`], it is an error if a file exists
    /// there by now. A pipe or a device is only flushed.
    pub(super) async fn finish(mut self) -> Result<(), CommandError> {
        self.file.flush().await.map_err(|error| self.output.write_error(&error))?;
        let Some(temp) = self.temp else { return Ok(()) };
        let renamed = match self.output.if_exists {
            IfExists::Replace => temp.persist(&self.output.path),
            IfExists::Fail => temp.persist_noclobber(&self.output.path),
        };
        renamed.map_err(|error| self.output.write_error(&error.error))
    }
}

/// Creates a temporary file in `dir`. `existing` is the metadata of the file that the temporary file will replace, or
/// `None`.
fn create_temp_file(dir: &Path, existing: Option<&Metadata>) -> io::Result<(fs::File, TempPath)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".artifactd-");
    // A new file gets its mode from the umask. A file that replaces an existing file is readable only by its owner
    // until the mode is copied. So a user who cannot read the existing file can never read the new one.
    #[cfg(unix)]
    if existing.is_none() {
        builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    }
    let (file, temp) = builder.tempfile_in(dir)?.into_parts();
    if let Some(existing) = existing {
        copy_owner_and_mode(&file, existing)?;
    }
    Ok((file, temp))
}

/// Sets the owner, group and mode of `file` to those of `existing`, as far as permitted. If the group cannot be set,
/// the group gets no permissions.
fn copy_owner_and_mode(file: &fs::File, existing: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

        let new = file.metadata()?;
        let mut mode = existing.mode() & 0o777;
        let has_same_ids = (new.uid(), new.gid()) == (existing.uid(), existing.gid());
        // A user who is not the superuser may set one of its own groups, but not another owner.
        let has_same_group = has_same_ids
            || fchown(file, Some(existing.uid()), Some(existing.gid())).is_ok()
            || fchown(file, None, Some(existing.gid())).is_ok();
        if !has_same_group {
            // The group permissions of the existing file are not meant for the group of the new file.
            mode &= 0o707;
        }
        file.set_permissions(Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    file.set_permissions(existing.permissions())
}
