//! Bodies and names that no put has had before: a store may keep equal bytes once.

use bytes::Bytes;

use crate::store::Error;

/// Random bytes, repeated in each body. No store here compresses, but the bytes should not be zeros.
const PATTERN_BYTES: usize = 64 * 1024;
/// The start of a body that makes it unique: 16 random bytes of this process, and a counter.
const STAMP_BYTES: usize = 24;

/// Makes bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    pattern: Vec<u8>,
    process: [u8; 16],
    count: u64,
}

impl Bodies {
    pub(crate) fn new() -> Result<Self, Error> {
        let (mut pattern, mut process) = (vec![0; PATTERN_BYTES], [0; 16]);
        getrandom::fill(&mut pattern)?;
        getrandom::fill(&mut process)?;
        Ok(Self { pattern, process, count: 0 })
    }

    /// A name and a body of `size` bytes, at least 24.
    pub(crate) fn next(&mut self, size: usize) -> (String, Bytes) {
        self.count += 1;
        let mut body = Vec::with_capacity(size.max(STAMP_BYTES));
        body.extend_from_slice(&self.process);
        body.extend_from_slice(&self.count.to_be_bytes());
        while body.len() < size {
            let piece = (size - body.len()).min(PATTERN_BYTES);
            body.extend_from_slice(&self.pattern[..piece]);
        }
        let name = format!("{:016x}", u128::from_be_bytes(self.process) as u64 ^ self.count.rotate_left(32));
        (name, Bytes::from(body))
    }
}
