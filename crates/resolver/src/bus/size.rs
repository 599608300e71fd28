//! What an event takes in memory, about. It must never know who reads it.

use std::io::{self, Write};

use super::Event;

/// What an event takes beside its text: the struct, its places in the maps, what allocations round up.
const OVERHEAD: usize = 1024;

/// The bytes that holding `event` takes, about: the length of its JSON, and a fixed overhead.
pub(super) fn bytes_of(event: &Event) -> usize {
    let mut counted = Count(OVERHEAD);
    // What the bus holds can be written, and counting does not fail.
    let _ = serde_json::to_writer(&mut counted, &event.data);
    counted.0
}

/// Counts what is written.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
