//! Logs: JSON or text on standard error.

use std::io::IsTerminal;

use crate::config::{LogFormat, TelemetrySettings};

/// Sends the process's logs to standard error from here on. A second call changes nothing.
pub fn init(settings: &TelemetrySettings) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(settings.log_level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match settings.log_format {
        LogFormat::Json => {
            let json = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
            tracing::subscriber::set_global_default(json.finish())
        }
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish()),
    };
}
