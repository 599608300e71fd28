//! Laws of the tree: its root is the BLAKE3 of the bytes, each range can be read from its blocks, and no altered byte is
//! returned.
#![allow(clippy::cast_possible_truncation)] // All sizes and offsets here are small.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;

use super::{
    GROUP_BLOCKS, HashTree, MAX_BYTES_WITHOUT_TREE, MIN_BLOCK_BYTES, RangeRead, TreeHasher, TreeShape,
};
use crate::{Blake3Digest, ByteStream, Digest, ErrorKind, PutOptions, Record, Scope, StoreError, Timestamp};

const BLOCK: usize = MIN_BLOCK_BYTES;
const GROUP: usize = BLOCK * GROUP_BLOCKS;

/// Sizes at each edge of blocks and groups.
const SIZES: [usize; 12] = [
    BLOCK + 1,
    2 * BLOCK - 1,
    2 * BLOCK,
    2 * BLOCK + 1,
    3 * BLOCK - 1,
    5 * BLOCK + 17,
    GROUP - 1,
    GROUP,
    GROUP + 1,
    GROUP + BLOCK,
    2 * GROUP,
    3 * GROUP + 2 * BLOCK + 5,
];

fn bytes_of(size: usize) -> Bytes {
    (0..size).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn tree_of(mut hasher: TreeHasher, bytes: &[u8], piece: usize) -> HashTree {
    for piece in bytes.chunks(piece) {
        hasher.update(piece);
    }
    hasher.finish().unwrap()
}

fn record_of(bytes: &[u8], tree: Option<&HashTree>) -> Record {
    let scope = Scope::new("acme", "ada", "s-1").unwrap();
    Record::new(scope, PutOptions::new(), Digest::of(bytes), bytes.len() as u64, Timestamp::from_micros(0))
        .with_blake3(tree.map(|tree| tree.root))
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    bytes.slice(range.start as usize..range.end as usize)
}

/// Reads `range` from `stored` bytes and nodes, in pieces of `piece` bytes. Returns the bytes before the end or the error.
fn read(
    record: &Record,
    stored: &Bytes,
    nodes: &Bytes,
    range: Range<u64>,
    piece: usize,
) -> (Vec<u8>, Option<StoreError>) {
    let read = RangeRead::new(record, range);
    let pieces = |bytes: Bytes| {
        let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        ByteStream::new(stream::iter(pieces))
    };
    let [groups, blocks] = read.nodes();
    let read_nodes = [slice(nodes, groups), slice(nodes, blocks)].concat();
    let data = slice(stored, read.data());
    let mut stream = read.into_stream(pieces(data), pieces(read_nodes.into()));
    let mut all = Vec::new();
    loop {
        match stream.next().now_or_never().expect("all pieces are in memory") {
            Some(Ok(piece)) => all.extend_from_slice(&piece),
            Some(Err(error)) => return (all, Some(error)),
            None => return (all, None),
        }
    }
}

#[test]
fn the_root_is_the_blake3_of_the_bytes_for_each_shape_and_all_pieces() {
    for size in SIZES {
        let bytes = bytes_of(size);
        let expected = Blake3Digest::from_bytes(blake3::hash(&bytes).into());
        for piece in [1000, BLOCK, 3 * BLOCK + 7, size] {
            let tree = tree_of(TreeHasher::new(), &bytes, piece);
            assert_eq!(expected, tree.root, "{size} bytes in pieces of {piece}");
            assert_eq!(
                tree.nodes.len() as u64,
                HashTree::nodes_len(&record_of(&bytes, Some(&tree))),
                "{size}"
            );
        }
    }
}

#[test]
fn a_tree_with_merged_blocks_has_the_same_root_and_the_hashes_of_larger_blocks() {
    for max_blocks in [2, 4, 64] {
        for size in SIZES {
            let bytes = bytes_of(size);
            let tree = tree_of(TreeHasher::with_max_blocks(max_blocks), &bytes, 100_000);
            assert_eq!(
                *blake3::hash(&bytes).as_bytes(),
                *tree.root.as_bytes(),
                "{size} bytes, at most {max_blocks} blocks"
            );
            let shape = TreeShape::with_max_blocks(size as u64, max_blocks);
            assert_eq!(
                tree.nodes.len() as u64,
                shape.nodes_len(),
                "{size} bytes, at most {max_blocks} blocks"
            );
        }
    }
}

#[test]
fn a_small_body_has_no_tree_and_its_ranges_are_compared_with_the_sha_256() {
    let bytes = bytes_of(MAX_BYTES_WITHOUT_TREE as usize);
    let mut hasher = TreeHasher::new();
    hasher.update(&bytes);
    assert_eq!(hasher.finish(), None);
    let record = record_of(&bytes, None);
    assert_eq!(read(&record, &bytes, &Bytes::new(), 5..9, 1000).0, bytes[5..9]);
    let mut altered = bytes.to_vec();
    altered[9_000] ^= 1;
    let (read_bytes, error) = read(&record, &altered.into(), &Bytes::new(), 5..9, 1000);
    assert_eq!((read_bytes.len(), error.map(|error| error.kind())), (0, Some(ErrorKind::Corrupt)));
}

#[test]
fn the_range_of_a_large_artifact_without_a_tree_is_read_alone() {
    let bytes = bytes_of(GROUP);
    let record = record_of(&bytes, None);
    let read = RangeRead::new(&record, 5..9);
    assert_eq!((read.data(), read.nodes(), HashTree::nodes_len(&record)), (5..9, [0..0, 0..0], 0));
}

#[test]
fn no_altered_bit_of_data_or_hashes_is_returned() {
    for size in [BLOCK + 1, 3 * BLOCK - 1, 2 * GROUP + BLOCK + 9] {
        let bytes = bytes_of(size);
        let tree = tree_of(TreeHasher::new(), &bytes, BLOCK);
        let record = record_of(&bytes, Some(&tree));
        let flip = |bytes: &Bytes, at: usize| {
            let mut altered = bytes.to_vec();
            altered[at] ^= 0x10;
            Bytes::from(altered)
        };
        // The first, a middle and the last byte, in a read of all bytes and in a read of this byte alone.
        for at in [0, size / 2, size - 1] {
            let altered = flip(&bytes, at);
            for range in [0..size as u64, at as u64..at as u64 + 1] {
                let (read_bytes, error) = read(&record, &altered, &tree.nodes, range.clone(), 10_000);
                assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Corrupt), "{size}: byte {at}");
                let start = range.start as usize;
                assert_eq!(read_bytes, bytes[start..start + read_bytes.len()], "{size}: byte {at}");
                assert!(start + read_bytes.len() <= at, "{size}: byte {at} was returned");
            }
        }
        for at in [0, tree.nodes.len() / 2, tree.nodes.len().saturating_sub(1)] {
            if !tree.nodes.is_empty() {
                let (_, error) = read(&record, &bytes, &flip(&tree.nodes, at), 0..size as u64, BLOCK);
                assert_eq!(
                    error.map(|error| error.kind()),
                    Some(ErrorKind::Corrupt),
                    "{size}: node byte {at}"
                );
            }
        }
        let mut root = *tree.root.as_bytes();
        root[31] ^= 1;
        let other = record.clone().with_blake3(Some(Blake3Digest::from_bytes(root)));
        let (read_bytes, error) = read(&other, &bytes, &tree.nodes, 0..9, BLOCK);
        assert_eq!(
            (read_bytes.len(), error.map(|error| error.kind())),
            (0, Some(ErrorKind::Corrupt)),
            "{size}"
        );
    }
}

#[test]
fn a_read_that_is_too_short_or_too_long_is_corrupt() {
    let bytes = bytes_of(2 * BLOCK + 9);
    let tree = tree_of(TreeHasher::new(), &bytes, BLOCK);
    let record = record_of(&bytes, Some(&tree));
    for stored in [bytes.slice(..bytes.len() - 1), [&bytes[..], b"x"].concat().into()] {
        let read = RangeRead::new(&record, 0..record.size);
        let stream =
            read.into_stream(ByteStream::from_bytes(stored), ByteStream::from_bytes(tree.nodes.clone()));
        let error = stream.collect_bytes(u64::MAX).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let read = RangeRead::new(&record, 0..record.size);
    let nodes = ByteStream::from_bytes(tree.nodes.slice(..33));
    let error = read.into_stream(ByteStream::from_bytes(bytes), nodes).collect_bytes(u64::MAX);
    assert_eq!(error.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_range_reads_its_bytes_whatever_the_pieces_are(
        size in prop::sample::select(&SIZES[..]),
        from in any::<u64>(),
        to in any::<u64>(),
        piece in 1_000_usize..300_000,
    ) {
        let bytes = bytes_of(size);
        let tree = tree_of(TreeHasher::new(), &bytes, piece);
        let record = record_of(&bytes, Some(&tree));
        let (from, to) = (from % (size as u64 + 1), to % (size as u64 + 1));
        let range = from.min(to)..from.max(to);
        let (read_bytes, error) = read(&record, &bytes, &tree.nodes, range.clone(), piece);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(read_bytes, &bytes[range.start as usize..range.end as usize]);
    }
}
