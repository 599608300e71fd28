//! Artifacts that two processes can make alike from a number, without sending them.

use artifact_store_core::{BoxError, Digest, Hasher};
use bytes::Bytes;
use futures_util::Stream;

/// `SplitMix64` (Steele et al. 2014), the generator of everything here.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `length` bytes, different for every number.
pub fn bytes(number: u64, length: usize) -> Bytes {
    let mut state = number;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        all.extend_from_slice(&mix(&mut state).to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

/// A number from a number, for choices.
pub fn choice(number: u64, bound: u64) -> u64 {
    mix(&mut number.clone()) % bound
}

/// The bytes of artifact `number`: from none to 2 MiB, most of them small.
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

/// Length of a piece of [`flow`], in bytes.
pub const PIECE: usize = 64 * 1024;

/// A piece of [`flow`].
pub fn piece(number: u64, piece: u64) -> Bytes {
    bytes(number ^ (piece << 24), PIECE)
}

/// `pieces` pieces that are nowhere in memory as a whole.
pub fn flow(number: u64, pieces: u64) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    futures_util::stream::iter((0..pieces).map(move |at| Ok(piece(number, at))))
}

/// The digest of [`flow`].
pub fn digest_of_flow(number: u64, pieces: u64) -> Digest {
    let mut hasher = Hasher::new();
    for at in 0..pieces {
        hasher.update(&piece(number, at));
    }
    hasher.finish()
}
