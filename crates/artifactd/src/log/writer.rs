//! The thread that writes the log, line by line. This module must never know the content of a line.
//!
//! A line that cannot be written is dropped and counted. Before the next line that can be written, the thread writes a
//! line with the number of missing lines.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::queue::{LineQueue, QueueItem};
use crate::config::LogFormat;

/// The delay between two attempts if standard error is full and non-blocking.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Starts a thread that writes the lines of `queue` to `out` until the process ends.
pub(super) fn spawn(queue: Arc<LineQueue>, out: Box<dyn Write + Send>, format: LogFormat) -> io::Result<()> {
    let mut writer = LogWriter { out, format, missing: 0, last_line_is_partial: false };
    let run = move || {
        loop {
            let item = queue.recv();
            writer.write(&queue, &item);
        }
    };
    std::thread::Builder::new().name("log".into()).spawn(run).map(drop)
}

struct LogWriter<W> {
    out: W,
    format: LogFormat,
    /// How many lines are missing and not reported yet.
    missing: u64,
    /// Whether only a part of the last line was written.
    last_line_is_partial: bool,
}

impl<W: Write> LogWriter<W> {
    /// Writes the line of `item`, and before it the number of missing lines. Counts the result in `queue`.
    fn write(&mut self, queue: &LineQueue, item: &QueueItem) {
        self.missing += item.dropped;
        // If the number of missing lines cannot be written, the line of `item` is not written either. A log with this
        // line alone would not show that lines are missing before it.
        let is_reported = self.report_missing().is_ok();
        let Some(line) = &item.line else { return };
        if is_reported && self.write_line(line).is_ok() {
            queue.count_written();
        } else {
            self.missing += 1;
            queue.count_unwritable();
        }
    }

    /// If lines are missing, writes a line with their number.
    fn report_missing(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            self.write_line(missing_lines_message(self.format, self.missing).as_bytes())?;
            self.missing = 0;
        }
        Ok(())
    }

    /// Writes a line. If the previous line is partial, a line break is written first.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.last_line_is_partial {
            write_all(&mut self.out, b"\n").map_err(|(_, error)| error)?;
            self.last_line_is_partial = false;
        }
        write_all(&mut self.out, line).map_err(|(written, error)| {
            self.last_line_is_partial = written > 0;
            error
        })
    }
}

/// Writes all of `bytes`. The error contains the number of bytes that were written before the failure.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The parent process may share standard error and may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_DELAY),
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// The line with the number of missing lines. This line is written at every log level.
fn missing_lines_message(format: LogFormat, lines: u64) -> String {
    let mut time = String::new();
    // If the time cannot be formatted, the line has no time.
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

    /// Accepts `capacity` bytes, then fails with `StorageFull`.
    #[derive(Default)]
    struct LimitedDisk {
        written: Vec<u8>,
        capacity: usize,
    }

    impl Write for LimitedDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.capacity);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.capacity -= count;
            self.written.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How many lines the queue dropped before a line.
    #[derive(Clone, Copy)]
    struct DroppedBefore(u64);

    fn write(writer: &mut LogWriter<LimitedDisk>, queue: &LineQueue, line: &str, dropped: DroppedBefore) {
        writer.write(queue, &QueueItem { dropped: dropped.0, line: Some(line.as_bytes().into()) });
    }

    #[test]
    fn after_a_full_disk_a_partial_line_is_ended_and_one_line_counts_the_missing_lines() {
        let queue = LineQueue::default();
        // The disk takes the 3 bytes of the first line, and the first 3 bytes of the second line.
        let disk = LimitedDisk { capacity: 6, ..LimitedDisk::default() };
        let mut writer =
            LogWriter { out: disk, format: LogFormat::Json, missing: 0, last_line_is_partial: false };
        for line in ["{}\n", "{\"torn\":1}\n", "{\"lost\":1}\n"] {
            write(&mut writer, &queue, line, DroppedBefore(0));
        }
        writer.out.capacity = 10_000;
        write(&mut writer, &queue, "{\"back\":1}\n", DroppedBefore(5));
        write(&mut writer, &queue, "{\"more\":1}\n", DroppedBefore(0));
        let text = String::from_utf8(writer.out.written).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[..2], ["{}", "{\"t"]);
        let report: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        // Two lines could not be written, and the queue had dropped five.
        assert_eq!((&report["lines"], &report["level"]), (&7.into(), &"WARN".into()));
        assert_eq!(lines[3..], ["{\"back\":1}", "{\"more\":1}"]);
        let counts = queue.counts();
        assert_eq!((counts.written, counts.dropped_unwritable), (3, 2));
    }

    #[test]
    fn a_text_log_reports_missing_lines_as_text() {
        let line = missing_lines_message(LogFormat::Text, 3);
        assert!(line.ends_with("not fast enough lines=3\n") && line.contains("  WARN "), "{line}");
    }
}
