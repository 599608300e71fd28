//! The thread that writes the log, line by line.
//!
//! A line that cannot be written is dropped and counted; the next one that can be follows a line that says how many are missing.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::queue::{Next, Queue};
use crate::config::LogFormat;

/// How long to wait where standard error takes nothing and does not make its writers wait.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes the lines of `queue` to `out` as long as the process lives.
pub(super) fn spawn(queue: Arc<Queue>, out: Box<dyn Write + Send>, format: LogFormat) -> io::Result<()> {
    let mut writer = Writer { out, format, missing: 0, torn: false };
    let run = move || {
        loop {
            let next = queue.next();
            writer.write(&queue, &next);
        }
    };
    std::thread::Builder::new().name("log".into()).spawn(run).map(drop)
}

struct Writer<W> {
    out: W,
    format: LogFormat,
    /// Lines that are missing and were not told of.
    missing: u64,
    /// The last line was written in part.
    torn: bool,
}

impl<W: Write> Writer<W> {
    fn write(&mut self, queue: &Queue, next: &Next) {
        self.missing += next.dropped;
        // Where the first of the two does not go, the second would hide the gap.
        let whole = self.tell_missing().is_ok();
        let Some(line) = &next.line else { return };
        if whole && self.line(line).is_ok() {
            queue.count_written();
        } else {
            self.missing += 1;
            queue.count_unwritable();
        }
    }

    fn tell_missing(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            self.line(missing(self.format, self.missing).as_bytes())?;
            self.missing = 0;
        }
        Ok(())
    }

    /// Writes a line, on a line of its own even after one that was torn.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            write_all(&mut self.out, b"\n").map_err(|(_, error)| error)?;
            self.torn = false;
        }
        write_all(&mut self.out, line).map_err(|(written, error)| {
            self.torn = written > 0;
            error
        })
    }
}

/// Writes all of `bytes`, or says how many of them were written before it failed.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever started the process may have made it so, for a reader that it shares with others.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// The line that says how many are missing; it is in the log at every level.
fn missing(format: LogFormat, lines: u64) -> String {
    let mut time = String::new();
    // Where there is no clock, the line says the rest.
    let _ = SystemTime.format_time(&mut format::Writer::new(&mut time));
    let message = "lines of the log are missing here: they could not be written, or not fast enough";
    match format {
        LogFormat::Json => {
            format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\",\"lines\":{lines}}}\n"
            )
        }
        LogFormat::Text => format!("{time}  WARN {message} lines={lines}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then refuses all, until it is emptied.
    #[derive(Default)]
    struct Disk {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.taken.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write(writer: &mut Writer<Disk>, queue: &Queue, dropped: u64, line: &str) {
        writer.write(queue, &Next { dropped, line: Some(line.as_bytes().into()) });
    }

    #[test]
    fn after_a_full_disk_one_line_says_how_many_are_missing_and_none_is_glued_to_a_torn_one() {
        let queue = Queue::default();
        let disk = Disk { room: 6, ..Disk::default() };
        let mut writer = Writer { out: disk, format: LogFormat::Json, missing: 0, torn: false };
        for line in ["{}\n", "{\"torn\":1}\n", "{\"lost\":1}\n"] {
            write(&mut writer, &queue, 0, line);
        }
        writer.out.room = 10_000;
        write(&mut writer, &queue, 5, "{\"back\":1}\n");
        write(&mut writer, &queue, 0, "{\"more\":1}\n");
        let text = String::from_utf8(writer.out.taken).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("{}", "{\"t", 5), "{text}");
        let told: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!((&told["lines"], &told["level"]), (&7.into(), &"WARN".into()));
        assert_eq!(lines[3..], ["{\"back\":1}", "{\"more\":1}"]);
        let counts = queue.counts();
        assert_eq!((counts.written, counts.dropped_unwritable), (3, 2));
    }

    #[test]
    fn a_text_log_says_it_in_text() {
        let line = missing(LogFormat::Text, 3);
        assert!(line.ends_with("not fast enough lines=3\n") && line.contains("  WARN "), "{line}");
    }
}
