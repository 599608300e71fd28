//! A file that appears whole or not at all: [`NewFile`].

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Failure;

/// Where an artifact is to be saved, looked at before anything is read.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// A pipe or a device: written as it is, because it holds nothing that could be left half.
    is_special: bool,
    replaces: bool,
    /// The file that is replaced: the new one takes over its mode and, where permitted, its owner.
    replaced: Option<Box<Metadata>>,
}

impl Place {
    /// # Errors
    /// Something stands there that may not be replaced.
    pub(super) fn new(path: &Path, force: bool) -> Result<Self, Failure> {
        let name = path.display();
        let place = |path: PathBuf, is_special| Self { path, is_special, replaces: force, replaced: None };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Failure::usage(format!("{name} is a folder; name a file in it")))
            }
            Ok(metadata) if !metadata.is_file() => Ok(place(path.to_owned(), true)),
            Ok(_) if !force => Err(Failure::failed(format!("{name} exists; give --force to replace it"))),
            // What a link points at is replaced, not the link.
            Ok(metadata) => match path.canonicalize() {
                Ok(path) => Ok(Self { replaced: Some(Box::new(metadata)), ..place(path, false) }),
                Err(error) => Err(Failure::caused(format!("{name} cannot be replaced"), &error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(place(path.to_owned(), false)),
            Err(error) => Err(Failure::caused(format!("{name} cannot be written"), &error)),
        }
    }

    /// Starts to write.
    pub(super) async fn create(self) -> Result<NewFile, Failure> {
        let opened = if self.is_special {
            // A pipe may wait for its reader.
            File::options().write(true).open(&self.path).await.map(|file| (file, None))
        } else {
            let folder = match self.path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            beside(folder, self.replaced.as_deref()).map(|(file, temp)| (File::from_std(file), Some(temp)))
        };
        match opened {
            Ok((file, temp)) => Ok(NewFile { file, temp, place: self }),
            Err(error) => Err(self.unwritable(&error)),
        }
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::caused(format!("{} cannot be written", self.path.display()), error)
    }
}

/// A file without its name yet. Dropped before [`finish`](Self::finish), it was never there.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    temp: Option<TempPath>,
    place: Place,
}

impl NewFile {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).await.map_err(|error| self.place.unwritable(&error))
    }

    /// Gives the file its name.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        self.file.flush().await.map_err(|error| self.place.unwritable(&error))?;
        let Some(temp) = self.temp else { return Ok(()) };
        let named = if self.place.replaces {
            temp.persist(&self.place.path)
        } else {
            temp.persist_noclobber(&self.place.path)
        };
        named.map_err(|refused| self.place.unwritable(&refused.error))
    }
}

fn beside(folder: &Path, replaced: Option<&Metadata>) -> io::Result<(fs::File, TempPath)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".artifactd-");
    // A new file follows the process's mask. One that replaces another is its owner's alone until it has the other's mode, so
    // that nobody reads it who could not read the other.
    #[cfg(unix)]
    if replaced.is_none() {
        builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    }
    let (file, temp) = builder.tempfile_in(folder)?.into_parts();
    if let Some(replaced) = replaced {
        take_over(&file, replaced)?;
    }
    Ok((file, temp))
}

/// Gives `file` the owner, group and mode of `replaced`.
fn take_over(file: &fs::File, replaced: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

        let own = file.metadata()?;
        let mut mode = replaced.mode() & 0o777;
        if (own.uid(), own.gid()) != (replaced.uid(), replaced.gid())
            && fchown(file, Some(replaced.uid()), Some(replaced.gid())).is_err()
            // A user may give a file to a group of its own, but not to another user.
            && fchown(file, None, Some(replaced.gid())).is_err()
        {
            // What the other file's group might do is not for the group that this one has.
            mode &= 0o707;
        }
        file.set_permissions(Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    file.set_permissions(replaced.permissions())
}
