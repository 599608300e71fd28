//! The Gate before a store that keeps BLAKE3 trees.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Blake3Digest, BlockChecker, Body, ByteRange, ByteStream, Bytes, Capabilities,
    ErrorKind, Gate, GateOptions, GetResult, Health, ListQuery, OpenBody, Page, PutOptions, PutOutcome,
    PutResult, RangeRead, ReadBlocks, Record, Scope, StoreError, Timestamp, TreeCache, TreeHasher,
    VerifyReads, async_trait,
};
use futures_util::{StreamExt, stream};

const BLOCK: usize = 16 * 1024;

/// A store of one artifact.
#[derive(Debug, Default)]
struct TreeStore {
    artifact: Mutex<Option<(Record, Bytes, Bytes)>>,
    /// Whether a put returns a record with the BLAKE3 of other bytes.
    returns_other_blake3: bool,
    /// Whether a get checks the bytes with the BLAKE3 of other bytes.
    checks_other_blake3: bool,
    /// Whether a get uses a `BlockChecker`, and a put a `TreeHasher` of its own.
    uses_block_checker: bool,
}

impl TreeStore {
    fn flip_bit(&self, at: usize) {
        let mut artifact = self.artifact.lock().unwrap();
        let (_, bytes, _) = artifact.as_mut().unwrap();
        let mut altered = bytes.to_vec();
        altered[at] ^= 1;
        *bytes = altered.into();
    }
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
}

/// The blocks `data` of an artifact in parts of one or two blocks, of which every second one is checked.
fn checked_parts(
    checker: &BlockChecker,
    bytes: &Bytes,
    nodes: &Bytes,
    mut data: Range<u64>,
) -> Vec<Result<ReadBlocks, StoreError>> {
    let mut parts = Vec::new();
    while !data.is_empty() {
        let count = 1 + parts.len() as u64 % 2;
        let part = data.start..data.end.min(data.start + count * checker.block_bytes());
        data.start = part.end;
        let blocks =
            checker.blocks(part.start, slice(bytes, part), |nodes_part| Ok(slice(nodes, nodes_part)));
        parts.push(blocks.map(|mut blocks| {
            if count == 1 {
                blocks.check();
            }
            blocks
        }));
    }
    parts
}

#[async_trait]
impl ArtifactStore for TreeStore {
    fn driver(&self) -> &'static str {
        "tree"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }
    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        let mut stream = body.open(u64::MAX)?.into_stream();
        let mut hasher = TreeHasher::new();
        if !self.uses_block_checker {
            stream = stream.with_tree();
        }
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece);
            hasher.update(&piece);
        }
        let (completed, tree) = if self.uses_block_checker {
            stream.finish_with_hasher(hasher)?
        } else {
            stream.finish_with_tree()?
        };
        let created_at = Timestamp::from_micros(0);
        let mut record = Record::new(scope.clone(), options, completed.digest, completed.size, created_at)
            .with_blake3(tree.as_ref().map(|tree| tree.root));
        if self.returns_other_blake3 {
            record.blake3 = Some(Blake3Digest::from_bytes([7; 32]));
        }
        let nodes = tree.map(|tree| tree.nodes).unwrap_or_default();
        *self.artifact.lock().unwrap() = Some((record.clone(), bytes.into(), nodes));
        Ok(PutResult { record, outcome: PutOutcome::Created })
    }
    async fn get(
        &self,
        _: &Scope,
        _: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let Some((record, bytes, nodes)) = self.artifact.lock().unwrap().clone() else { return Ok(None) };
        let range = range.map_or(0..record.size, |range| range.resolve(record.size));
        let other_record = record.clone().with_blake3(Some(Blake3Digest::from_bytes([7; 32])));
        let checked_record = if self.checks_other_blake3 { &other_record } else { &record };
        let read = RangeRead::new(checked_record, range.clone());
        if self.uses_block_checker {
            let checker = read.block_checker(&Arc::default()).unwrap();
            let data = read.data();
            let parts = checked_parts(&checker, &bytes, &nodes, data.start..data.end);
            return Ok(Some(GetResult { record, range, stream: checker.into_stream(stream::iter(parts)) }));
        }
        let read_nodes = read.nodes().map(|part| slice(&nodes, part)).concat();
        let data = ByteStream::from_bytes(slice(&bytes, read.data()));
        let stream = read.into_stream(data, ByteStream::from_bytes(read_nodes.into()));
        Ok(Some(GetResult { record, range, stream }))
    }
    async fn stat(&self, _: &Scope, _: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(self.artifact.lock().unwrap().as_ref().map(|(record, ..)| record.clone()))
    }
    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        Ok(self.artifact.lock().unwrap().take().is_some())
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        Ok(Page::new(query, Vec::new(), None, false))
    }
    async fn health(&self) -> Result<Health, StoreError> {
        Ok(Health::ready())
    }
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn scope() -> Scope {
    Scope::new("acme", "ada", "s").unwrap()
}

/// Reads `range`. Returns the bytes before the end or the error, and the kind of the error.
async fn read(gate: &Gate, id: &ArtifactId, range: Range<u64>) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = gate.get(&scope(), id, Some(range.into())).await.unwrap().unwrap().stream;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Some(error.kind())),
        }
    }
    (bytes, None)
}

#[tokio::test]
async fn a_range_is_checked_with_the_tree_before_a_byte_is_returned() {
    for (verify_reads, is_checked, uses_block_checker) in [
        (VerifyReads::Always, true, false),
        (VerifyReads::Never, false, false),
        (VerifyReads::Always, true, true),
        (VerifyReads::Never, false, true),
    ] {
        let store = Arc::new(TreeStore { uses_block_checker, ..TreeStore::default() });
        let gate = Gate::new(store.clone(), GateOptions::default().with_verify_reads(verify_reads)).unwrap();
        let bytes: Vec<u8> = (0..3 * BLOCK).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let put = gate.put(&scope(), Body::from(bytes.clone()), PutOptions::default()).await.unwrap();
        let id = put.record.id;
        store.flip_bit(BLOCK + 9);
        // The range and the number of its bytes before the block with the altered bit. `None` if the range does not
        // contain this block.
        let block = BLOCK as u64;
        for (range, before) in [
            (0..10, None),
            (2 * block..3 * block, None),
            (block..block + 1, Some(0)),
            (block - 5..block + 20, Some(5)),
            (0..3 * block, Some(BLOCK)),
        ] {
            let (seen, error) = read(&gate, &id, range.clone()).await;
            if is_checked && let Some(before) = before {
                assert_eq!(error, Some(ErrorKind::Corrupt), "{range:?}");
                let start = usize::try_from(range.start).unwrap();
                assert!(seen.len() <= before && seen == bytes[start..start + seen.len()], "{range:?}");
            } else {
                assert_eq!((seen.len() as u64, error), (range.end - range.start, None), "{range:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_put_that_returns_another_blake3_is_corrupt() {
    for uses_block_checker in [false, true] {
        let store = TreeStore { returns_other_blake3: true, uses_block_checker, ..TreeStore::default() };
        let gate = Gate::new(Arc::new(store), GateOptions::default()).unwrap();
        let put = gate.put(&scope(), Body::from(vec![1; 2 * BLOCK]), PutOptions::default()).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_get_that_checks_the_hash_of_another_artifact_is_corrupt() {
    for uses_block_checker in [false, true] {
        let store = TreeStore { checks_other_blake3: true, uses_block_checker, ..TreeStore::default() };
        let gate = Gate::new(Arc::new(store), GateOptions::default()).unwrap();
        let put = gate.put(&scope(), Body::from(vec![1; 2 * BLOCK]), PutOptions::default()).await.unwrap();
        for range in [None, Some(ByteRange::from(5..9))] {
            let get = gate.get(&scope(), &put.record.id, range).await;
            assert_eq!(get.unwrap_err().kind(), ErrorKind::Corrupt, "{range:?}");
        }
    }
}

/// A record of `bytes`, and the nodes of their tree.
fn record_of(bytes: &Bytes) -> (Record, Bytes) {
    let OpenBody::InMemory(body) = Body::from(bytes.clone()).open(u64::MAX).unwrap() else { unreachable!() };
    let (_, completed, tree) = body.finish_with_tree().unwrap();
    let tree = tree.unwrap();
    let time = Timestamp::from_micros(0);
    let record = Record::new(scope(), PutOptions::default(), completed.digest, completed.size, time)
        .with_blake3(Some(tree.root));
    (record, tree.nodes)
}

/// An artifact of three groups, of which the last block is short.
fn large_artifact() -> (Bytes, Record, Bytes) {
    let length = 130 * BLOCK + 5;
    let bytes: Bytes = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let (record, nodes) = record_of(&bytes);
    (bytes, record, nodes)
}

#[tokio::test]
async fn a_block_checker_returns_the_bytes_of_any_range() {
    let (bytes, record, nodes) = large_artifact();
    let block = BLOCK as u64;
    let cache = Arc::new(TreeCache::new());
    for range in
        [0..1, block - 1..block + 1, 63 * block..65 * block + 1, record.size - 1..record.size, 0..record.size]
    {
        let read = RangeRead::new(&record, range.clone());
        let checker = read.block_checker(&cache).unwrap();
        let parts = checked_parts(&checker, &bytes, &nodes, read.data());
        let stream = checker.into_stream(stream::iter(parts));
        assert_eq!(stream.collect_bytes(u64::MAX).await.unwrap(), slice(&bytes, range.clone()), "{range:?}");
    }
}

#[tokio::test]
async fn hashes_that_were_checked_are_not_read_again() {
    let (bytes, record, nodes) = large_artifact();
    let cache = Arc::new(TreeCache::new());
    let group = 64 * BLOCK as u64;
    // The first read of a group reads its hashes, and the first read of the artifact those of the groups, too.
    for (start, expected_reads) in [(5, 2), (99, 0), (group + 5, 1), (7, 0)] {
        let read = RangeRead::new(&record, start..start + 10);
        let checker = read.block_checker(&cache).unwrap();
        let mut reads = 0;
        let blocks = checker.blocks(read.data().start, slice(&bytes, read.data()), |part| {
            reads += 1;
            Ok(slice(&nodes, part))
        });
        let stream = checker.into_stream(stream::iter([blocks]));
        assert_eq!(stream.collect_bytes(u64::MAX).await.unwrap(), slice(&bytes, start..start + 10));
        assert_eq!(reads, expected_reads, "{start}");
    }
}

#[tokio::test]
async fn a_block_checker_finds_an_altered_hash_and_keeps_none() {
    let (bytes, record, nodes) = large_artifact();
    for at in [0, 3 * 32, nodes.len() - 1] {
        let cache = Arc::new(TreeCache::new());
        let mut altered = nodes.to_vec();
        altered[at] ^= 1;
        // The last block, whose hash is the last node.
        let read = RangeRead::new(&record, record.size - 1..record.size);
        for (nodes, is_right) in [(altered.into(), false), (nodes.clone(), true)] {
            let checker = read.block_checker(&cache).unwrap();
            let parts = checked_parts(&checker, &bytes, &nodes, read.data());
            let end = checker.into_stream(stream::iter(parts)).collect_bytes(u64::MAX).await;
            let altered_node_is_read = at != 3 * 32;
            assert_eq!(end.is_ok(), is_right || !altered_node_is_read, "{at}");
        }
    }
}

#[tokio::test]
async fn blocks_that_are_missing_or_in_another_order_or_of_another_read_are_refused() {
    let (bytes, record, nodes) = large_artifact();
    let read = RangeRead::new(&record, 0..3 * BLOCK as u64);
    let parts = |checker: &BlockChecker| checked_parts(checker, &bytes, &nodes, read.data());
    let cache = Arc::default();
    let read_all = async |checker: BlockChecker, parts: Vec<_>| {
        checker.into_stream(stream::iter(parts)).collect_bytes(u64::MAX).await.map_err(|error| error.kind())
    };
    let checker = read.block_checker(&cache).unwrap();
    let mut missing = parts(&checker);
    missing.pop();
    assert_eq!(read_all(checker, missing).await, Err(ErrorKind::Corrupt));
    let checker = read.block_checker(&cache).unwrap();
    let mut reversed = parts(&checker);
    reversed.reverse();
    assert_eq!(read_all(checker, reversed).await, Err(ErrorKind::Backend));
    let of_another_read = parts(&read.block_checker(&cache).unwrap());
    assert_eq!(read_all(read.block_checker(&cache).unwrap(), of_another_read).await, Err(ErrorKind::Backend));
    let checker = read.block_checker(&cache).unwrap();
    for part in [0..5, 5..BLOCK, 0..4 * BLOCK, 0..0] {
        let start = part.start as u64;
        let refused = checker.blocks(start, bytes.slice(part), |_| unreachable!());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Backend);
    }
}
