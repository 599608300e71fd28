//! Reads: [`ArtifactReader`] finds an artifact's file and returns its record or a stream of its bytes.
//!
//! A record and a short range are read at once. A longer range is read part by part while the stream is polled. This
//! module must never change a file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ByteRange, ByteStream, Bytes, GetResult, RangeRead, Record, Scope, StoreError, TreeCache,
};
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;

use crate::blocking::BlockingPool;
use crate::buffers::{BUFFER_BYTES, BufferPool};
use crate::dirs::ScopeDirs;
use crate::error::map_io_error;
use crate::layout::{ArtifactKey, Tail, read_record};
use crate::read_ahead::ReadAhead;

/// A range of at most this many bytes is read together with the record.
const SHORT_READ_BYTES: u64 = 128 * 1024;
/// A file of at most this many bytes is read with one system call if the whole artifact was requested.
const WHOLE_FILE_BYTES: usize = 68 * 1024;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// Waits for the disk. Allowed only in a blocking task.
    Blocking,
    /// Fails if the directories of the path or the bytes are not in the memory of the operating system. Never waits, so it
    /// is allowed on a thread of the async runtime.
    Cached,
}

/// Reads the artifacts of a store.
#[derive(Debug)]
pub(crate) struct ArtifactReader {
    dirs: Arc<ScopeDirs>,
    /// Whether [`ReadMode::Cached`] works on the file system of the store.
    reads_cached: bool,
    trees: Arc<TreeCache>,
    buffers: Arc<BufferPool>,
}

impl ArtifactReader {
    pub(crate) fn new(dirs: Arc<ScopeDirs>) -> Self {
        let reads_cached = dirs.can_read_cached();
        Self { dirs, reads_cached, trees: Arc::default(), buffers: Arc::default() }
    }

    /// The result of a get.
    ///
    /// If everything is in the memory of the operating system, reads on the calling thread, because a blocking task would
    /// take longer than the read. Otherwise reads in a blocking task.
    ///
    /// # Errors
    /// `Closed`; the errors of [`get_with`](Self::get_with).
    pub(crate) async fn get(
        self: &Arc<Self>,
        pool: &BlockingPool,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        pool.check_open()?;
        if self.reads_cached {
            consume_budget().await;
            // After any error the blocking task tries again, and returns its own error.
            if let Ok(found) = self.get_with(ReadMode::Cached, scope, id, range) {
                return Ok(found);
            }
        }
        let (reader, scope, id) = (Arc::clone(self), scope.clone(), id.clone());
        pool.run(move |_| reader.get_with(ReadMode::Blocking, &scope, &id, range)).await
    }

    /// The record of an artifact, read as in [`get`](Self::get).
    ///
    /// # Errors
    /// `Closed`; the errors of [`open_artifact`].
    pub(crate) async fn stat(
        self: &Arc<Self>,
        pool: &BlockingPool,
        scope: &Scope,
        id: &ArtifactId,
    ) -> Result<Option<Record>, StoreError> {
        pool.check_open()?;
        let record = |reader: &Self, mode, scope: &Scope, id: &ArtifactId| {
            Ok(open_artifact(&reader.dirs, mode, scope, id, 0)?.map(|artifact| artifact.record))
        };
        if self.reads_cached {
            consume_budget().await;
            if let Ok(found) = record(self, ReadMode::Cached, scope, id) {
                return Ok(found);
            }
        }
        let (reader, scope, id) = (Arc::clone(self), scope.clone(), id.clone());
        pool.run(move |_| record(&reader, ReadMode::Blocking, &scope, &id)).await
    }

    /// Opens an artifact and reads its record and a short range. A longer range is read while the stream is polled.
    ///
    /// # Errors
    /// The errors of [`open_artifact`]; `Corrupt` if the file ends too early. The same errors may end the stream.
    fn get_with(
        &self,
        mode: ReadMode,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let whole_bytes = if range.is_none() { WHOLE_FILE_BYTES } else { 0 };
        let Some(artifact) = open_artifact(&self.dirs, mode, scope, id, whole_bytes)? else {
            return Ok(None);
        };
        let size = artifact.record.size;
        let range = range.map_or(0..size, |range| range.resolve(size));
        let read = RangeRead::new(&artifact.record, range.clone());
        let data = read.data();
        let is_short = data.end - data.start <= SHORT_READ_BYTES;
        let record = artifact.record.clone();
        let checker = read.block_checker(&self.trees);
        let stream = match checker {
            Some(checker) if is_short => {
                let bytes = artifact.read(mode, data.clone())?;
                let mut blocks =
                    checker.blocks(data.start, bytes, |nodes| artifact.read_nodes(mode, nodes))?;
                if mode == ReadMode::Blocking {
                    // The bytes are in the cache of this processor now.
                    blocks.check();
                }
                checker.into_stream(stream::iter([Ok(blocks)]))
            }
            Some(checker) => {
                let part_bytes = checker.block_bytes().max(BUFFER_BYTES as u64);
                let (reading, buffers) = (checker.clone(), Arc::clone(&self.buffers));
                let read = move |part: Range<u64>| {
                    let bytes = artifact.read_to_buffer(&buffers, part.clone())?;
                    let read_nodes = |nodes| artifact.read_nodes(ReadMode::Blocking, nodes);
                    let mut blocks = reading.blocks(part.start, bytes, read_nodes)?;
                    // The bytes are in the cache of this processor now.
                    blocks.check();
                    Ok(blocks)
                };
                checker.into_stream(ReadAhead::new(data, part_bytes, Handle::current(), read))
            }
            // Without a tree there are no nodes.
            None if is_short => {
                let bytes = artifact.read(mode, data)?;
                read.into_stream(ByteStream::from_bytes(bytes), ByteStream::from_bytes(Bytes::new()))
            }
            None => {
                let buffers = Arc::clone(&self.buffers);
                let read_part = move |part| artifact.read_to_buffer(&buffers, part);
                let parts = ReadAhead::new(data, BUFFER_BYTES as u64, Handle::current(), read_part);
                read.into_stream(ByteStream::new(parts), ByteStream::from_bytes(Bytes::new()))
            }
        };
        Ok(Some(GetResult { record, range, stream }))
    }
}

/// An artifact whose file is open. The file stays readable after a delete.
#[derive(Debug)]
pub(crate) struct OpenArtifact {
    pub(crate) record: Record,
    pub(crate) file: File,
    /// The whole file, if it was read together with the record.
    whole: Option<Bytes>,
}

impl OpenArtifact {
    /// Reads the bytes `range` of the file.
    fn read(&self, mode: ReadMode, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = range_length(&range)?;
        if let Some(whole) = &self.whole {
            // The layout was checked when the record was read: the file has all bytes and nodes.
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            return Ok(whole.slice(start..start + length));
        }
        let mut bytes = vec![0; length];
        read_exact_at(&self.file, mode, &mut bytes, range.start).map_err(read_error)?;
        Ok(bytes.into())
    }

    /// Reads the bytes `nodes` of the nodes of the tree. In the file, they follow the bytes of the artifact.
    fn read_nodes(&self, mode: ReadMode, nodes: Range<u64>) -> Result<Bytes, StoreError> {
        self.read(mode, self.record.size + nodes.start..self.record.size + nodes.end)
    }

    /// Reads the bytes `range` of the file into a buffer of `buffers`. Waits for the disk.
    fn read_to_buffer(&self, buffers: &Arc<BufferPool>, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut buffer = buffers.get(range_length(&range)?);
        read_exact_at(&self.file, ReadMode::Blocking, buffer.as_mut_slice(), range.start)
            .map_err(read_error)?;
        Ok(buffer.into_bytes())
    }
}

fn range_length(range: &Range<u64>) -> Result<usize, StoreError> {
    usize::try_from(range.end - range.start)
        .map_err(|error| StoreError::backend("the range is too large for memory").with_source(error))
}

fn read_error(error: io::Error) -> StoreError {
    map_io_error("reading an artifact", error)
}

/// Opens the file of an artifact below `dirs` and reads its record. Returns `None` if the artifact does not exist. If the
/// file has at most `whole_bytes` bytes, the whole file is read with the record.
///
/// # Errors
/// `Corrupt` if the file is not a whole artifact, or if its record has another scope or id; `Unavailable`, `Backend`.
pub(crate) fn open_artifact(
    dirs: &ScopeDirs,
    mode: ReadMode,
    scope: &Scope,
    id: &ArtifactId,
    whole_bytes: usize,
) -> Result<Option<OpenArtifact>, StoreError> {
    let key = ArtifactKey::new(scope, id);
    let opened =
        dirs.open_artifact(&key, mode).map_err(|error| map_io_error(format_args!("opening {key}"), error))?;
    let Some(file) = opened else { return Ok(None) };
    let mut buffer = Vec::new();
    let (record, tail) = read_record(&file, mode, &key, whole_bytes, &mut buffer)?;
    // The path identifies the scope and the id only by hashes. The record contains the scope and the id themselves, so
    // they are compared here.
    if record.scope != *scope {
        return Err(StoreError::corrupt(format!("{key}: this artifact is of another scope")));
    }
    if record.id != *id {
        return Err(StoreError::corrupt(format!("{key}: this artifact has another id")));
    }
    let whole = (tail == Tail::WholeFile).then(|| buffer.into());
    Ok(Some(OpenArtifact { record, file, whole }))
}

/// Reads exactly `buffer.len()` bytes at `offset` of `file`.
///
/// # Errors
/// `UnexpectedEof` if the file ends too early; `WouldBlock` if `mode` is [`ReadMode::Cached`] and the bytes are not in
/// memory; all other errors of the file system.
pub(crate) fn read_exact_at(file: &File, mode: ReadMode, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    match mode {
        ReadMode::Blocking => file.read_exact_at(buffer, offset),
        ReadMode::Cached => read_cached(file, buffer, offset),
    }
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use rustix::io::{ReadWriteFlags, preadv2};
    while !buffer.is_empty() {
        let count = preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        offset += count as u64;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{ReadMode, read_exact_at};

    #[test]
    fn a_cached_read_returns_the_bytes_or_fails() {
        let test_dir = tempfile::tempdir().unwrap();
        let path = test_dir.path().join("file");
        fs::write(&path, "0123456789").unwrap();
        let file = fs::File::open(path).unwrap();
        let mut buffer = [0; 4];
        // tmpfs and some other file systems have no such read.
        if read_exact_at(&file, ReadMode::Cached, &mut buffer, 3).is_ok() {
            assert_eq!(&buffer, b"3456");
            assert!(read_exact_at(&file, ReadMode::Cached, &mut buffer, 8).is_err());
        }
    }
}
