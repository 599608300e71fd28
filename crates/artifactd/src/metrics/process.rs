//! Figures of the process, under the names that every client of Prometheus gives them: [`Process`].
//!
//! They are read from `/proc`, which is no disk, in a few calls; where there is no such thing (only Linux has it) they are left
//! out. It must never hold anything of a request.

use std::fmt;
use std::fs;
use std::time::Duration;

use super::families::{Families, Family};

/// How many ticks the kernel counts a second of CPU time as, in what it shows to programs: the same on every architecture that
/// Rust's standard library is built for.
const TICKS_A_SECOND: u32 = 100;

/// What does not change while the process runs.
#[derive(Debug)]
pub(crate) struct Process {
    /// Since 1970, in seconds.
    started: Option<f64>,
}

impl Default for Process {
    fn default() -> Self {
        let stat = read("/proc/self/stat").and_then(|text| Stat::parse(&text));
        let booted = read("/proc/stat").and_then(|text| booted(&text));
        Self { started: stat.zip(booted).map(|(stat, booted)| booted + stat.started.as_secs_f64()) }
    }
}

impl Process {
    pub(crate) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        if let Some(stat) = read("/proc/self/stat").and_then(|text| Stat::parse(&text)) {
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
                if let Some(kib) = field_of(&status, field) {
                    families.gauge(family, &kib.saturating_mul(1024))?;
                }
            }
        }
        if let Some(open) = open_fds() {
            families.gauge(Family::new("process_open_fds", "File descriptors that are open."), &open)?;
        }
        if let Some(most) = read("/proc/self/limits").and_then(|text| field_of(&text, "Max open files")) {
            families.gauge(Family::new("process_max_fds", "File descriptors that may be open."), &most)?;
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

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// How many file descriptors are open. Newer kernels say it as the folder's size; on others it is counted.
fn open_fds() -> Option<u64> {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        open => Some(open),
    }
}

/// The first number behind a name at the start of a line.
fn field_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// When the machine was started, in seconds since 1970.
#[allow(clippy::cast_precision_loss)] // Seconds of this age are exact.
fn booted(stat: &str) -> Option<f64> {
    field_of(stat, "btime ").map(|seconds| seconds as f64)
}

/// What is of use in `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu: Duration,
    threads: u64,
    /// After the machine was.
    started: Duration,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The program's name stands in parentheses, and may hold any.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // Numbered from 1 in the manual (proc_pid_stat), and the first behind the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000)) / TICKS_A_SECOND;
        Some(Self {
            cpu: ticks(field(14)?.saturating_add(field(15)?)),
            threads: field(20)?,
            started: ticks(field(22)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name_is() {
        let line = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 123456 20";
        let stat = Stat::parse(line).unwrap();
        let expected =
            Stat { cpu: Duration::from_secs(3), threads: 17, started: Duration::from_millis(1_234_560) };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("4711 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_found_by_the_start_of_its_line() {
        let text =
            "Name:\tVmRSS:\nVmRSS:\t    1234 kB\nMax open files            1024    4096   files\nbtime 17\n";
        assert_eq!(field_of(text, "VmRSS:"), Some(1234));
        assert_eq!(field_of(text, "Max open files"), Some(1024));
        assert_eq!(booted(text), Some(17.0));
        assert_eq!(field_of("Max open files   unlimited unlimited files", "Max open files"), None);
    }
}
