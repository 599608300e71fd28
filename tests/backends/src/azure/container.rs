//! A container on the disk: committed blobs, with an index in memory, and uncommitted blocks.
//!
//! A blob is a file `HASH.blob`: its bytes, its properties as JSON, and the length of that JSON in 8 bytes. It appears by
//! a rename, so after a kill it is whole or not there. The uncommitted blocks of a blob are the files of the directory
//! `HASH.blocks`, beside a file with the blob's name. HASH is that of the blob's name, which may be long. Nothing is synced:
//! a kill loses nothing that was answered, a loss of power may.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::error::Failure;
use super::properties::{Attributes, Properties, new_etag};
use crate::Error;

const NAME_FILE: &str = "name";
const LENGTH_BYTES: i64 = 8;

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    dir: PathBuf,
    index: Mutex<BTreeMap<String, Properties>>,
}

/// A file that becomes a blob or a block. It is deleted when this is dropped before.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is gone if it was renamed.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

impl Container {
    /// Opens a directory, and reads the properties of its blobs.
    pub(super) fn open(dir: PathBuf) -> Result<Self, Error> {
        let mut index = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("blob") => {
                    let properties = read_properties(&path)?;
                    index.insert(properties.name.clone(), properties);
                }
                // Left by a kill.
                Some("draft") => fs::remove_file(&path)?,
                _ => {}
            }
        }
        Ok(Self { dir, index: Mutex::new(index) })
    }

    pub(super) fn index(&self) -> MutexGuard<'_, BTreeMap<String, Properties>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file name for what is being written.
    pub(super) fn draft(&self) -> Result<Draft, Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Draft { path: self.dir.join(format!("{}.draft", HEXLOWER.encode(&bytes))) })
    }

    /// Makes a draft a blob, if `check` allows it. All of its uncommitted blocks are dropped. `check` gets the blob that
    /// is replaced.
    pub(super) fn commit(
        &self,
        name: &str,
        draft: &Draft,
        attributes: Attributes,
        check: impl FnOnce(Option<&Properties>) -> Result<(), Failure>,
    ) -> Result<Properties, Failure> {
        let mut index = self.index();
        let replaced = index.get(name);
        check(replaced)?;
        let mut file = File::options().append(true).open(&draft.path)?;
        let modified = Timestamp::now();
        let properties = Properties {
            name: name.to_owned(),
            length: file.metadata()?.len(),
            etag: new_etag()?,
            created: replaced.map_or(modified, |replaced| replaced.created),
            modified,
            attributes,
        };
        let json = properties.to_json().to_string();
        file.write_all(json.as_bytes())?;
        file.write_all(&u64::try_from(json.len())?.to_be_bytes())?;
        drop(file);
        fs::rename(&draft.path, self.blob_path(name))?;
        index.insert(name.to_owned(), properties.clone());
        self.drop_blocks(name)?;
        Ok(properties)
    }

    /// Opens a blob. A reader keeps the bytes that it opened, whatever happens to the blob.
    pub(super) fn read(&self, name: &str) -> Result<Option<(Properties, File)>, Error> {
        let index = self.index();
        let Some(properties) = index.get(name) else { return Ok(None) };
        Ok(Some((properties.clone(), File::open(self.blob_path(name))?)))
    }

    /// Deletes a blob and its uncommitted blocks, if `check` allows it. Returns whether there was one.
    pub(super) fn delete(
        &self,
        name: &str,
        check: impl FnOnce(Option<&Properties>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let mut index = self.index();
        check(index.get(name))?;
        if index.remove(name).is_none() {
            return Ok(false);
        }
        fs::remove_file(self.blob_path(name))?;
        self.drop_blocks(name)?;
        Ok(true)
    }

    /// Makes a draft an uncommitted block.
    pub(super) fn add_block(&self, name: &str, id: &[u8], draft: &Draft) -> Result<(), Error> {
        // While the lock is held, no commit drops the directory.
        let _index = self.index();
        let dir = self.blocks_dir(name);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(NAME_FILE), name)?;
        Ok(fs::rename(&draft.path, dir.join(block_file(id)))?)
    }

    /// The ids of the uncommitted blocks of a blob, in no order.
    pub(super) fn block_ids(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        let entries = match fs::read_dir(self.blocks_dir(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<Result<_, Error>>()?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(".block"));
        ids.map(|id| Ok(HEXLOWER.decode(id.as_bytes())?)).collect()
    }

    /// The file of an uncommitted block.
    pub(super) fn block_path(&self, name: &str, id: &[u8]) -> PathBuf {
        self.blocks_dir(name).join(block_file(id))
    }

    /// The names of the blobs with uncommitted blocks, sorted.
    pub(super) fn uncommitted(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "blocks") {
                match fs::read_to_string(path.join(NAME_FILE)) {
                    // It was committed or deleted in the meantime, or a kill came before its name.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    name => names.push(name?),
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn drop_blocks(&self, name: &str) -> Result<(), Error> {
        match fs::remove_dir_all(self.blocks_dir(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn blob_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}.blob", hash(name)))
    }

    fn blocks_dir(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}.blocks", hash(name)))
    }
}

fn hash(name: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(name.as_bytes()))
}

fn block_file(id: &[u8]) -> String {
    format!("{}.block", HEXLOWER.encode(id))
}

fn read_properties(path: &Path) -> Result<Properties, Error> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.seek(SeekFrom::End(-LENGTH_BYTES))?;
    file.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    file.seek(SeekFrom::End(-i64::try_from(length)? - LENGTH_BYTES))?;
    let mut json = Vec::new();
    file.take(length).read_to_end(&mut json)?;
    Properties::from_json(&serde_json::from_slice(&json)?)
        .ok_or_else(|| format!("{} is not a blob of the stand-in", path.display()).into())
}
