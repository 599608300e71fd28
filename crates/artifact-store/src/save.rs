//! Saves an artifact to a file: [`GetResultExt::save_to`].
//!
//! This module must never know where the bytes come from.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use artifact_store_core::{ByteStream, GetResult};
use futures_util::TryStreamExt;
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use tokio::task;

/// More methods of a [`GetResult`].
pub trait GetResultExt {
    /// Writes the bytes into the file `path` and returns the number of written bytes. An existing file is replaced. If
    /// `path` is a symbolic link, the link is replaced, and its target is not changed.
    ///
    /// `path` never names an incomplete file. The bytes go to a temporary file in the same folder and are flushed to
    /// the disk. Then the temporary file is renamed to `path`, and on Unix the folder is flushed. If an error happens
    /// or the future is dropped before the rename begins, an existing file is unchanged and the temporary file is
    /// deleted. If flushing the folder fails, the new file exists, but it may be lost in a power failure.
    ///
    /// The disk is accessed on tokio's threads for blocking calls. On Unix, the file gets the permissions of any new
    /// file: read and write for all, restricted by the process's umask.
    ///
    /// # Errors
    /// The errors of the file system; [`InvalidInput`](io::ErrorKind::InvalidInput) if `path` does not end with a file
    /// name. An error of the store's stream becomes an [`io::Error`] that contains the
    /// [`StoreError`](crate::StoreError).
    ///
    /// # Examples
    /// ```
    /// use artifact_store::prelude::*;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("report.txt");
    /// # let store = artifact_store::open(&"inmem:".parse()?).await?;
    /// # let scope = Scope::new("acme", "ada", "session-1")?;
    /// # let id = store.put_text(&scope, "a report", PutOptions::default()).await?.record.id;
    /// if let Some(get) = store.get(&scope, &id, None).await? {
    ///     assert_eq!(get.save_to(&path).await?, 8);
    /// }
    /// # assert_eq!(std::fs::read_to_string(&path)?, "a report");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    fn save_to(self, path: impl AsRef<Path>) -> impl Future<Output = io::Result<u64>> + Send + 'static;
}

impl GetResultExt for GetResult {
    fn save_to(self, path: impl AsRef<Path>) -> impl Future<Output = io::Result<u64>> + Send + 'static {
        save(self.stream, path.as_ref().to_owned())
    }
}

async fn save(mut stream: ByteStream, path: PathBuf) -> io::Result<u64> {
    if path.file_name().is_none() {
        let text = format!("{} does not name a file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        // A path such as `report.txt` names a file in the current folder.
        _ => PathBuf::from("."),
    };
    // The closure returns `folder`, because the folder is flushed after the rename.
    let (file, temporary_path, folder) = run_blocking(move || {
        let (file, temporary_path) = create_temporary_file(&folder)?;
        Ok((file, temporary_path, folder))
    })
    .await?;
    let mut file = tokio::fs::File::from_std(file);
    let mut written = 0;
    while let Some(chunk) = stream.try_next().await? {
        file.write_all(&chunk).await?;
        written += chunk.len() as u64;
    }
    // `tokio::fs::File` writes in the background. `flush` waits for the last write and returns its error.
    file.flush().await?;
    let file = file.into_std().await;
    // A blocking call goes on even if this future is dropped. The flush and the rename are two calls, so that no rename
    // follows if the future is dropped during a slow flush.
    run_blocking(move || file.sync_all()).await?;
    run_blocking(move || {
        temporary_path.persist(&path)?;
        sync_folder(&folder)
    })
    .await?;
    Ok(written)
}

/// Creates a file with a random name in `folder`. The file is deleted when the returned path is dropped.
fn create_temporary_file(folder: &Path) -> io::Result<(File, TempPath)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".artifact-").suffix(".part");
    // Without this call, `tempfile` gives permissions to the owner only.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    Ok(builder.tempfile_in(folder)?.into_parts())
}

/// Flushes the entries of `folder` to the disk, so that the rename survives a power failure.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Does nothing, because systems other than Unix cannot flush a folder in this way.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Runs `work` on a thread for blocking calls. If `work` panics, the result is an error.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    // The `?` returns the error of a panic. Without a panic, the value is the result of `work`.
    task::spawn_blocking(work).await.map_err(io::Error::other)?
}
