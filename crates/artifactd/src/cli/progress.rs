//! A progress bar on standard error, if that is a terminal. This module must never know what is transferred.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const WITH_LENGTH: &str = "{bar:32} {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left";
const WITHOUT_LENGTH: &str = "{spinner} {bytes}  {binary_bytes_per_sec}  {elapsed}";

/// A bar, or a spinner if the length is unknown. Dropping this value removes the bar or spinner from the terminal.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Starts with 0 bytes. `length` is the expected number of bytes, or `None` if it is unknown.
    pub(super) fn start(length: Option<u64>, is_shown: bool) -> Self {
        if !is_shown {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match length {
            Some(length) => (ProgressBar::new(length), WITH_LENGTH),
            None => (ProgressBar::no_length(), WITHOUT_LENGTH),
        };
        // indicatif hides the bar if standard error is not a terminal.
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Returns a function that adds a number of bytes to the progress.
    pub(super) fn counter(&self) -> impl Fn(usize) + Send + 'static {
        let bar = self.0.clone();
        move |bytes| bar.inc(bytes as u64)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
