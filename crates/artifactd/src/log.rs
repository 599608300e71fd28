//! Logs: JSON or text on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{LogFormat, TelemetrySettings};

/// What our own crates' targets start with.
const OWN: &str = "artifact";
/// The most that the crates of others may say: below it, clients of a storage write down bodies, headers and signed URLs.
const FOREIGN: LevelFilter = LevelFilter::INFO;

/// Sends the process's logs to standard error from here on. A second call changes nothing.
pub fn init(settings: &TelemetrySettings) {
    let level = LevelFilter::from_level(settings.log_level);
    let targets = Targets::new().with_default(level.min(FOREIGN)).with_target(OWN, level);
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match settings.log_format {
        LogFormat::Json => {
            let json = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
            tracing::subscriber::set_global_default(json.finish().with(targets))
        }
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish().with(targets)),
    };
}
