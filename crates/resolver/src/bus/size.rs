//! The approximate memory of an event. This module must never know who reads events.

use std::io::{self, Write};

use super::Event;

/// An estimate of the bytes that an event takes in addition to its JSON: the struct, its entries in the maps, and the
/// rounding of allocations.
const OVERHEAD: usize = 1024;

/// The approximate memory of `event` in bytes: the length of its JSON plus a fixed overhead.
pub(super) fn event_size(event: &Event) -> usize {
    let mut counter = ByteCounter(OVERHEAD);
    // Serializing an event and counting its bytes cannot fail.
    let _ = serde_json::to_writer(&mut counter, &event.data);
    counter.0
}

/// A writer that counts bytes.
struct ByteCounter(usize);

impl Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
