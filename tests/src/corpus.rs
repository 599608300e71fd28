//! Artifacts that two processes can generate from the same number, without transferring them.

use artifact_store_core::{BoxError, Digest, Hasher};
use bytes::Bytes;
use futures_util::Stream;

/// `SplitMix64` (Steele et al. 2014), the generator of everything here.
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns `length` bytes that are different for every number.
pub fn bytes(number: u64, length: usize) -> Bytes {
    let mut state = number;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        all.extend_from_slice(&splitmix64(&mut state).to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

/// A number below `bound` that depends only on `number`.
pub fn choice(number: u64, bound: u64) -> u64 {
    splitmix64(&mut number.clone()) % bound
}

/// The bytes of artifact `number`: from 0 bytes to 2 MiB, most of them small.
#[allow(clippy::cast_possible_truncation)] // At most 2 MiB.
pub fn artifact(number: u64) -> Bytes {
    let length = match choice(number, 10) {
        0 => choice(number ^ 1, 10),
        1..=5 => choice(number ^ 1, 20 * 1024),
        6..=7 => choice(number ^ 1, 300 * 1024),
        _ => 1024 * 1024 + choice(number ^ 1, 1024 * 1024),
    };
    bytes(number, length as usize)
}

/// Length of a chunk of [`chunk_stream`], in bytes.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Chunk `index` of [`chunk_stream`].
pub fn chunk(number: u64, index: u64) -> Bytes {
    bytes(number ^ (index << 24), CHUNK_BYTES)
}

/// A stream of `count` chunks, which are never in memory all at once.
pub fn chunk_stream(number: u64, count: u64) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    futures_util::stream::iter((0..count).map(move |index| Ok(chunk(number, index))))
}

/// The digest of [`chunk_stream`].
pub fn digest_of_chunks(number: u64, count: u64) -> Digest {
    let mut hasher = Hasher::new();
    for index in 0..count {
        hasher.update(&chunk(number, index));
    }
    hasher.finish()
}
