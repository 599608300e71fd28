//! [`DataDir`]: the directory of `artifactd dev`, locked for one process, with files that only their owner can read.
//! This module must never know what the files mean.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use artifact_store_server::random_id;

use crate::cli::error::CommandError;

/// The file that is locked. The file contains the id of the process that holds the lock, and the URL of its server.
const LOCK_FILE: &str = "dev.lock";
/// At most this many bytes of a file are read.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The directory of a running `artifactd dev`. The kernel releases the lock when the process ends, even after a crash.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// The directory cannot be created or locked, its lock file is a symbolic link, or another process has locked it.
    pub(super) fn open(path: &Path) -> Result<Self, CommandError> {
        let shown = path.display();
        create_private_dir(path).map_err(|error| {
            CommandError::failed(format!("cannot create the data directory {shown}: {error}"))
        })?;
        let lock_path = path.join(LOCK_FILE);
        let failed =
            |error: io::Error| CommandError::failed(format!("cannot lock {}: {error}", lock_path.display()));
        check_is_not_symlink(&lock_path).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&mut lock).take(MAX_FILE_BYTES).read_to_string(&mut holder);
                return Err(in_use_error(path, &holder));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut dir = Self { path: path.to_owned(), lock };
        dir.write_holder("").map_err(failed)?;
        Ok(dir)
    }

    /// The path of the file `name` in the directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes the URL of this server into the lock file. A second process shows the URL in its error.
    pub(super) fn set_url(&mut self, url: &str) -> Result<(), CommandError> {
        self.write_holder(url).map_err(|error| {
            CommandError::failed(format!("cannot write {}: {error}", self.file(LOCK_FILE).display()))
        })
    }

    /// Writes the process id and `url` into the lock file. `url` is empty until the server listens.
    fn write_holder(&mut self, url: &str) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(format!("{}\n{url}\n", std::process::id()).as_bytes())
    }

    /// Reads a file that only its owner can access. `None` if the file does not exist.
    ///
    /// A file that other users can access is refused, and so is a symbolic link: the directory may come from somebody
    /// else, for example with a checkout of a repository.
    pub(super) fn read_private(&self, name: &str) -> Result<Option<String>, CommandError> {
        let path = self.file(name);
        let read = || -> io::Result<String> {
            check_is_not_symlink(&path)?;
            let file = File::open(&path)?;
            check_is_private(&file.metadata()?)?;
            let mut text = String::new();
            file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CommandError::failed(format!(
                "{} cannot be read: {error}; delete it to have a new one",
                path.display()
            ))),
        }
    }

    /// Writes a file atomically. Other users can never read the file, not even while it is written.
    pub(super) fn write_private(&self, name: &str, text: &str) -> Result<(), CommandError> {
        let path = self.file(name);
        write_private_file(&path, text.as_bytes())
            .map_err(|error| CommandError::failed(format!("cannot write {}: {error}", path.display())))
    }
}

/// Refuses a symbolic link, which could lead to any file of the user.
fn check_is_not_symlink(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"))
        }
        _ => Ok(()),
    }
}

/// Refuses a file that other users can access.
fn check_is_private(metadata: &Metadata) -> io::Result<()> {
    if metadata.permissions().mode() & 0o077 != 0 {
        let reason = "other users can access it and may know its content";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

/// The error about a directory that another process has locked. `holder` is the content of the lock file: a line with
/// the process id, and a line with the URL. The second line is empty if the server does not listen yet.
fn in_use_error(path: &Path, holder: &str) -> CommandError {
    let mut lines = holder.lines();
    let process = match lines.next().and_then(|line| line.parse::<u32>().ok()) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    let at_url = match lines.next() {
        Some(url) if !url.is_empty() => format!(" at {url}"),
        _ => String::new(),
    };
    CommandError::failed(format!(
        "{} is the data directory of a running artifactd dev: {process}{at_url}; use that one, stop it, or choose another --data-dir \
         and --listen",
        path.display()
    ))
}

/// Creates a directory that only its owner can access. A directory that already exists is not changed.
fn create_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a temporary file that only its owner can access, and renames it to `path`.
fn write_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", random_id()));
    let temp = PathBuf::from(name);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp).and_then(|mut file| {
            // The umask may have removed permissions of the owner.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            std::fs::rename(&temp, path)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_and_readable_only_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dev-token");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let opened = DataDir::open(dir.path()).unwrap();
        opened.write_private("key", "secret").unwrap();
        assert_eq!(opened.read_private("key").unwrap().as_deref(), Some("secret"));
        std::fs::set_permissions(opened.file("key"), Permissions::from_mode(0o644)).unwrap();
        let refused = format!("{:?}", opened.read_private("key").unwrap_err());
        assert!(refused.contains("other users can access it") && refused.contains("delete it"), "{refused}");
        assert_eq!(opened.read_private("absent").unwrap(), None);
    }

    #[test]
    fn a_symbolic_link_is_neither_followed_nor_changed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "of somebody").unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&target, data.join(LOCK_FILE)).unwrap();
        assert!(format!("{:?}", DataDir::open(&data).unwrap_err()).contains("symbolic link"));
        std::fs::remove_file(data.join(LOCK_FILE)).unwrap();
        let opened = DataDir::open(&data).unwrap();
        std::os::unix::fs::symlink(&target, opened.file("key")).unwrap();
        assert!(format!("{:?}", opened.read_private("key").unwrap_err()).contains("symbolic link"));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "of somebody");
    }

    #[test]
    fn a_directory_has_one_user_at_a_time_and_the_next_one_learns_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = DataDir::open(dir.path()).unwrap();
        first.set_url("http://127.0.0.1:1").unwrap();
        let refused = format!("{:?}", DataDir::open(dir.path()).unwrap_err());
        let holder = format!("process {} at http://127.0.0.1:1;", std::process::id());
        assert!(refused.contains(&holder), "{refused}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }
}
