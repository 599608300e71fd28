//! Metrics of the process, with the names that all Prometheus clients use: [`ProcessMetrics`].
//!
//! The values are read from `/proc` with a few system calls. `/proc` is in memory, so the reads do not wait for a disk.
//! Only Linux has `/proc` in this form. On other systems the metrics are left out.
//!
//! This module must never know anything of a request.

use std::fmt;
use std::fs;
use std::time::Duration;

use super::families::{Families, Family};

/// How many ticks the kernel reports for one second of CPU time. The number is the same on every architecture that
/// Rust's standard library supports.
const TICKS_PER_SECOND: u32 = 100;

/// The metrics of the process. Only the start time is stored. All other values are read when the metrics are requested.
#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    /// When the process was started, in seconds since 1970. `None`: `/proc` cannot be read.
    started: Option<f64>,
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        let stat = read("/proc/self/stat").and_then(|text| ProcStat::parse(&text));
        let boot_time = read("/proc/stat").and_then(|text| boot_time(&text));
        Self { started: stat.zip(boot_time).map(|(stat, boot_time)| boot_time + stat.started.as_secs_f64()) }
    }
}

impl ProcessMetrics {
    /// Writes the metric families of this group.
    pub(crate) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        if let Some(stat) = read("/proc/self/stat").and_then(|text| ProcStat::parse(&text)) {
            families.counter(
                Family::seconds("process_cpu", "CPU time of the process, in user and system mode."),
                stat.cpu.as_secs_f64(),
            )?;
            families.gauge(Family::new("process_threads", "Threads of the process."), &stat.threads)?;
        }
        if let Some(status) = read("/proc/self/status") {
            for (field, family) in [
                ("VmRSS:", Family::bytes("process_resident_memory", "Memory of the process that is in RAM.")),
                ("VmSize:", Family::bytes("process_virtual_memory", "Address space of the process.")),
            ] {
                if let Some(kib) = number_after(&status, field) {
                    families.gauge(family, &kib.saturating_mul(1024))?;
                }
            }
        }
        if let Some(open) = open_fds() {
            families.gauge(Family::new("process_open_fds", "File descriptors that are open."), &open)?;
        }
        if let Some(limit) = read("/proc/self/limits").and_then(|text| number_after(&text, "Max open files"))
        {
            families.gauge(Family::new("process_max_fds", "File descriptors that may be open."), &limit)?;
        }
        if let Some(started) = self.started {
            families.gauge(
                Family::seconds("process_start_time", "When the process was started, since 1970."),
                &started,
            )?;
        }
        Ok(())
    }
}

/// Returns the text of a file. `None`: the file cannot be read.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Returns the number of open file descriptors. Newer kernels report the number as the size of the directory. Older
/// kernels report the size 0. Then the entries are counted.
fn open_fds() -> Option<u64> {
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        0 => Some(fs::read_dir(directory).ok()?.count() as u64),
        open => Some(open),
    }
}

/// Finds the first line that starts with `name`. Returns the number that follows the name. `None`: there is no such
/// line or no number.
fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Returns when the machine was started, in seconds since 1970. `stat` is the text of `/proc/stat`.
#[allow(clippy::cast_precision_loss)] // A number of this size is exact.
fn boot_time(stat: &str) -> Option<f64> {
    number_after(stat, "btime ").map(|seconds| seconds as f64)
}

/// The fields of `/proc/self/stat` that are used.
#[derive(Debug, PartialEq, Eq)]
struct ProcStat {
    /// CPU time in user and system mode.
    cpu: Duration,
    threads: u64,
    /// When the process was started, as a time after the start of the machine.
    started: Duration,
}

impl ProcStat {
    /// Parses the text of `/proc/self/stat`. `None`: the text has another form.
    fn parse(text: &str) -> Option<Self> {
        // The program's name is in parentheses and may itself contain parentheses.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The manual (proc_pid_stat) numbers the fields from 1. The first field after the name is number 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let duration = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000)) / TICKS_PER_SECOND;
        Some(Self {
            cpu: duration(field(14)?.saturating_add(field(15)?)),
            threads: field(20)?,
            started: duration(field(22)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name_is() {
        // 250 and 50 ticks of CPU time, 17 threads, started 123456 ticks after the machine.
        let line = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 123456 20";
        let stat = ProcStat::parse(line).unwrap();
        let expected =
            ProcStat { cpu: Duration::from_secs(3), threads: 17, started: Duration::from_millis(1_234_560) };
        assert_eq!(stat, expected);
        assert_eq!(ProcStat::parse("4711 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_found_by_the_start_of_its_line() {
        let text =
            "Name:\tVmRSS:\nVmRSS:\t    1234 kB\nMax open files            1024    4096   files\nbtime 17\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(1234));
        assert_eq!(number_after(text, "Max open files"), Some(1024));
        assert_eq!(boot_time(text), Some(17.0));
        assert_eq!(number_after("Max open files   unlimited unlimited files", "Max open files"), None);
    }
}
