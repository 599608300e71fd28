//! The thread that writes the log. This module must never know the content of a line.
//!
//! A line that cannot be written is dropped and counted. Before the next line that can be written, the thread writes a
//! line with the number of missing lines.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::queue::{Batch, LineQueue, QueuedLine};
use crate::config::LogFormat;

/// The delay between two attempts if standard error is full and non-blocking.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// The largest number of bytes in a write of several lines. If standard error is a pipe, the system writes this number of
/// bytes at once (`PIPE_BUF`), so no line of another process that shares the pipe gets into a line.
const MAX_WRITE_BYTES: usize = 4096;

/// Starts a thread that writes the lines of `queue` to `out` until the process ends.
pub(super) fn spawn(queue: Arc<LineQueue>, out: Box<dyn Write + Send>, format: LogFormat) -> io::Result<()> {
    let mut writer = LogWriter { out, format, missing: 0, last_line_is_partial: false };
    let run = move || {
        let mut batch = Batch::default();
        loop {
            queue.recv(&mut batch);
            writer.write(&queue, &batch);
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
    /// Writes the lines of `batch`, and before a line the number of lines that are missing there. Counts the result in
    /// `queue`.
    fn write(&mut self, queue: &LineQueue, batch: &Batch) {
        let (mut bytes, mut lines) = (batch.bytes(), batch.lines());
        while let Some(first) = lines.first() {
            self.missing += first.dropped;
            let (count, length) = group(lines);
            // If the number of missing lines cannot be written, the first line is not written either. A log with this
            // line alone would not show that lines are missing before it.
            let written = if self.report_missing().is_ok() { self.write_lines(&bytes[..length]) } else { 0 };
            let (mut done, mut end) = (0, 0);
            while done < count && end + lines[done].length <= written {
                end += lines[done].length;
                done += 1;
            }
            queue.count_written(done as u64);
            if done < count {
                // The line that was not written whole is dropped, and the loop goes on with the line after it.
                self.last_line_is_partial |= written > end;
                self.missing += 1;
                queue.count_unwritable(1);
                end += lines[done].length;
                done += 1;
            }
            (bytes, lines) = (&bytes[end..], &lines[done..]);
        }
        if batch.dropped_at_end() > 0 {
            self.missing += batch.dropped_at_end();
            // If the report cannot be written, it is tried again before the next line.
            let _ = self.report_missing();
        }
    }

    /// If lines are missing, writes a line with their number.
    fn report_missing(&mut self) -> io::Result<()> {
        if self.missing == 0 {
            return Ok(());
        }
        let message = missing_lines_message(self.format, self.missing);
        let written = self.write_lines(message.as_bytes());
        if written < message.len() {
            self.last_line_is_partial |= written > 0;
            return Err(ErrorKind::WriteZero.into());
        }
        self.missing = 0;
        Ok(())
    }

    /// Writes whole lines. If the previous line is partial, a line break is written first. Returns how many bytes of
    /// `lines` were written.
    fn write_lines(&mut self, lines: &[u8]) -> usize {
        if self.last_line_is_partial {
            if write_all(&mut self.out, b"\n") == 0 {
                return 0;
            }
            self.last_line_is_partial = false;
        }
        write_all(&mut self.out, lines)
    }
}

/// The lines that are written at once, from the first of `lines`: their number, and their length in bytes.
fn group(lines: &[QueuedLine]) -> (usize, usize) {
    let (mut count, mut length) = (0, 0);
    for line in lines {
        // Lines are missing before this line, and their number is written first.
        let is_after_gap = count > 0 && line.dropped > 0;
        if is_after_gap || (count > 0 && length + line.length > MAX_WRITE_BYTES) {
            break;
        }
        count += 1;
        length += line.length;
    }
    (count, length)
}

/// Writes all of `bytes`. Returns how many bytes were written: less than all after a failure.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The parent process may share standard error and may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_DELAY),
            Err(_) => break,
        }
    }
    written
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
    use super::super::queue::MAX_BYTES;
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

    fn writer(capacity: usize) -> LogWriter<LimitedDisk> {
        let out = LimitedDisk { capacity, ..LimitedDisk::default() };
        LogWriter { out, format: LogFormat::Json, missing: 0, last_line_is_partial: false }
    }

    fn write(writer: &mut LogWriter<LimitedDisk>, queue: &LineQueue, lines: &[&str]) {
        let mut batch = Batch::default();
        for line in lines {
            batch.push(line.as_bytes());
        }
        writer.write(queue, &batch);
    }

    #[test]
    fn after_a_full_disk_a_partial_line_is_ended_and_one_line_counts_the_missing_lines() {
        let queue = LineQueue::default();
        // The disk takes the 3 bytes of the first line, and the first 3 bytes of the second line.
        let mut writer = writer(6);
        write(&mut writer, &queue, &["{}\n", "{\"torn\":1}\n", "{\"lost\":1}\n"]);
        writer.out.capacity = 10_000;
        write(&mut writer, &queue, &["{\"back\":1}\n", "{\"more\":1}\n"]);
        let text = String::from_utf8(writer.out.written).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[..2], ["{}", "{\"t"]);
        let report: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!((&report["lines"], &report["level"]), (&2.into(), &"WARN".into()));
        assert_eq!(lines[3..], ["{\"back\":1}", "{\"more\":1}"]);
        let counts = queue.counts();
        assert_eq!((counts.written, counts.dropped_unwritable), (3, 2));
    }

    #[test]
    fn lines_that_the_queue_dropped_are_reported_where_they_are_missing() {
        let queue = LineQueue::default();
        let long = format!("{}\n", "x".repeat(MAX_BYTES - 1000));
        for line in ["first\n", &long, &long, &long, "after two\n", &long] {
            queue.push(line.as_bytes());
        }
        let mut batch = Batch::default();
        queue.recv(&mut batch);
        let mut writer = writer(2 * MAX_BYTES);
        writer.write(&queue, &batch);
        let text = String::from_utf8(writer.out.written).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('x')).collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (4, "first", "after two"), "{lines:?}");
        assert!(lines[1].contains("\"lines\":2") && lines[3].contains("\"lines\":1"), "{lines:?}");
        assert_eq!(queue.counts().written, 3);
    }

    /// Counts the writes.
    #[derive(Default)]
    struct CountingOutput(Vec<usize>);

    impl Write for CountingOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_together_up_to_what_a_pipe_takes_at_once() {
        let queue = LineQueue::default();
        let mut batch = Batch::default();
        for length in [2000, 2000, 96, 1, 5000, 1] {
            batch.push(&vec![b'x'; length]);
        }
        let out = CountingOutput::default();
        let mut writer = LogWriter { out, format: LogFormat::Json, missing: 0, last_line_is_partial: false };
        writer.write(&queue, &batch);
        assert_eq!(writer.out.0, [MAX_WRITE_BYTES, 1, 5000, 1]);
    }

    #[test]
    fn a_text_log_reports_missing_lines_as_text() {
        let line = missing_lines_message(LogFormat::Text, 3);
        assert!(line.ends_with("not fast enough lines=3\n") && line.contains("  WARN "), "{line}");
    }
}
