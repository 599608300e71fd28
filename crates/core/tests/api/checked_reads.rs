//! The Gate before a store that keeps BLAKE3 trees.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Blake3Digest, Body, ByteRange, ByteStream, Bytes, Capabilities, ErrorKind,
    Gate, GateOptions, GetResult, Health, ListQuery, Page, PutOptions, PutOutcome, PutResult, RangeRead,
    Record, Scope, StoreError, Timestamp, VerifyReads, async_trait,
};
use futures_util::StreamExt;

const BLOCK: usize = 16 * 1024;

/// A store of one artifact.
#[derive(Debug, Default)]
struct TreeStore {
    artifact: Mutex<Option<(Record, Bytes, Bytes)>>,
    /// Whether a put returns a record with the BLAKE3 of other bytes.
    returns_other_blake3: bool,
    /// Whether a get checks the bytes with the BLAKE3 of other bytes.
    checks_other_blake3: bool,
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

#[async_trait]
impl ArtifactStore for TreeStore {
    fn driver(&self) -> &'static str {
        "tree"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }
    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        let mut stream = body.open(u64::MAX)?.into_stream().with_tree();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let (completed, tree) = stream.finish_with_tree()?;
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
    for (verify_reads, is_checked) in [(VerifyReads::Always, true), (VerifyReads::Never, false)] {
        let store = Arc::new(TreeStore::default());
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
    let store = TreeStore { returns_other_blake3: true, ..TreeStore::default() };
    let gate = Gate::new(Arc::new(store), GateOptions::default()).unwrap();
    let put = gate.put(&scope(), Body::from(vec![1; 2 * BLOCK]), PutOptions::default()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_get_that_checks_the_hash_of_another_artifact_is_corrupt() {
    let store = TreeStore { checks_other_blake3: true, ..TreeStore::default() };
    let gate = Gate::new(Arc::new(store), GateOptions::default()).unwrap();
    let put = gate.put(&scope(), Body::from(vec![1; 2 * BLOCK]), PutOptions::default()).await.unwrap();
    for range in [None, Some(ByteRange::from(5..9))] {
        let get = gate.get(&scope(), &put.record.id, range).await;
        assert_eq!(get.unwrap_err().kind(), ErrorKind::Corrupt, "{range:?}");
    }
}
