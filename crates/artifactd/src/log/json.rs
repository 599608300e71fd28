//! [`JsonLine`]: formats an event as one line of JSON, without a tree and without memory for each member.
//!
//! The members are `timestamp`, `level`, and the fields of the event in their order. This module must never know what a
//! field means.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats an event as one line of JSON.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str("{\"timestamp\":\"")?;
        // A time that cannot be formatted is missing in the line.
        let _ = SystemTime.format_time(&mut line);
        line.write_str("\",\"level\":\"")?;
        line.write_str(event.metadata().level().as_str())?;
        line.write_char('"')?;
        let mut members = Members { line, result: Ok(()) };
        event.record(&mut members);
        members.result?;
        members.line.write_str("}\n")
    }
}

/// Writes each field as a member of an object that has members already.
struct Members<'a> {
    line: Writer<'a>,
    /// The first error. After it, nothing is written.
    result: fmt::Result,
}

impl Members<'_> {
    fn write(&mut self, field: &Field, write_value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.write_member(field.name(), write_value);
        }
    }

    fn write_member(
        &mut self,
        name: &str,
        write_value: impl FnOnce(&mut Writer<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.line.write_str(",\"")?;
        Escaped(&mut self.line).write_str(name)?;
        self.line.write_str("\":")?;
        write_value(&mut self.line)
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, |line| {
            // JSON has no infinity and no NaN.
            if value.is_finite() { write!(line, "{value:?}") } else { line.write_str("null") }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |line| line.write_str(if value { "true" } else { "false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |line| {
            line.write_char('"')?;
            write!(Escaped(line), "{value:?}")?;
            line.write_char('"')
        });
    }
}

/// Writes text as the content of a JSON string.
struct Escaped<'a, 'line>(&'a mut Writer<'line>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Self(line) = self;
        let mut rest = text;
        while let Some(index) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            let (plain, special) = rest.split_at(index);
            line.write_str(plain)?;
            match special.as_bytes()[0] {
                b'"' => line.write_str("\\\"")?,
                b'\\' => line.write_str("\\\\")?,
                b'\n' => line.write_str("\\n")?,
                b'\r' => line.write_str("\\r")?,
                b'\t' => line.write_str("\\t")?,
                control => write!(line, "\\u{control:04x}")?,
            }
            rest = &special[1..];
        }
        line.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` makes.
    fn lines_of(log: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer =
            tracing_subscriber::fmt::layer().event_format(JsonLine).with_writer(move || writer.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), log);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_time_the_level_the_message_and_every_field_that_is_set() {
        let error = io::Error::other("no \"space\"");
        let lines = lines_of(|| {
            tracing::warn!(
                text = "a",
                absent = None::<u64>,
                count = 7,
                negative = -7,
                yes = true,
                millis = 1.0,
                small = 0.000_001,
                nan = f64::NAN,
                shown = %"b",
                debug = ?Some("c"),
                error = &error as &dyn std::error::Error,
                "message {}",
                1
            );
        });
        let mut line = lines[0].clone();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        let expected = json!({
            "level": "WARN", "message": "message 1", "text": "a", "count": 7, "negative": -7, "yes": true,
            "millis": 1.0, "small": 0.000_001, "nan": null, "shown": "b", "debug": "Some(\"c\")",
            "error": "no \"space\"",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn every_character_stays_within_its_line() {
        let odd: String =
            (0..0x250_u32).chain([0x2028, 0xfeff, 0x1f600]).filter_map(char::from_u32).collect();
        let lines = lines_of(|| tracing::info!(odd, shown = %odd, "{odd}"));
        assert_eq!(lines.len(), 1);
        for name in ["odd", "shown", "message"] {
            assert_eq!(lines[0][name], odd.as_str(), "{name}");
        }
    }
}
