//! A file that appears whole or not at all: [`NewFile`].

use std::fs::{self, Permissions};
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
}

impl Place {
    /// # Errors
    /// Something stands there that may not be replaced.
    pub(super) fn new(path: &Path, force: bool) -> Result<Self, Failure> {
        let name = path.display();
        let place = |path: PathBuf, is_special| Self { path, is_special, replaces: force };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Failure::usage(format!("{name} is a folder; name a file in it")))
            }
            Ok(metadata) if !metadata.is_file() => Ok(place(path.to_owned(), true)),
            Ok(_) if !force => Err(Failure::failed(format!("{name} exists; give --force to replace it"))),
            // What a link points at is replaced, not the link.
            Ok(_) => match path.canonicalize() {
                Ok(path) => Ok(place(path, false)),
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
            beside(folder).map(|(file, temp)| (File::from_std(file), Some(temp)))
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

fn beside(folder: &Path) -> io::Result<(fs::File, TempPath)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".artifactd-");
    // As any new file: the process's mask takes away from it.
    #[cfg(unix)]
    let permissions = <Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder).map(tempfile::NamedTempFile::into_parts)
}
