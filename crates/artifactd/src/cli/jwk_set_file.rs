//! [`JwkSetFile`]: a JWK set in a file. A change of the file is atomic. If two processes change the file at once,
//! neither change is lost. This module must never write a private key.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::CommandError;
use super::output_file::{IfExists, OutputFile};

/// The largest file that is read, in bytes. The server has the same limit.
const MAX_BYTES: u64 = 1 << 20;

/// A JWK set and the file that it is in.
#[derive(Debug)]
pub(super) struct JwkSetFile {
    path: PathBuf,
    /// The members of the document, such as `keys`.
    document: Map<String, Value>,
    /// The locked folder of the file. `None` if the set was read without a lock, by [`read`](Self::read).
    _lock: Option<File>,
}

impl JwkSetFile {
    /// Reads the set without a lock.
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let shown = path.display();
        let text = read_text(path)
            .map_err(|error| CommandError::failed(format!("{shown} cannot be read: {error}")))?;
        let document: Map<String, Value> = match serde_json::from_str(&text) {
            Ok(Value::Object(document)) if document.get("keys").is_some_and(Value::is_array) => document,
            _ => {
                return Err(CommandError::failed(format!(
                    "{shown} is not a JWK set, which is a JSON object with an array 'keys'"
                )));
            }
        };
        Ok(Self { path: path.to_owned(), document, _lock: None })
    }

    /// Locks the folder of the file and reads the set, so that the caller can change the set. Other processes that call
    /// this function for a file in the same folder wait until the returned value is dropped.
    pub(super) fn read_locked(path: &Path) -> Result<Self, CommandError> {
        // The folder is locked and not the file, because a change replaces the file. A lock on the old file would not
        // protect the new file.
        let lock = File::open(folder_of(path)).and_then(|folder| folder.lock().map(|()| folder));
        let lock = lock.map_err(|error| {
            CommandError::failed(format!("the folder of {} cannot be locked: {error}", path.display()))
        })?;
        Ok(Self { _lock: Some(lock), ..Self::read(path)? })
    }

    /// The keys, as the file has them.
    pub(super) fn keys(&self) -> &[Value] {
        self.document.get("keys").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Replaces the keys and writes the file. The file keeps its mode and, if permitted, its owner.
    pub(super) async fn replace_keys(mut self, keys: Vec<Value>) -> Result<(), CommandError> {
        self.document.insert("keys".to_owned(), Value::Array(keys));
        let text = format!("{:#}\n", Value::Object(self.document));
        let mut writer = OutputFile::new(&self.path, IfExists::Replace)?.create().await?;
        writer.write(text.as_bytes()).await?;
        writer.sync().await?;
        writer.finish().await
    }
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than the limit is enough to detect a file that is too large.
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB, the limit for a JWK set",
        ));
    }
    Ok(text)
}
