//! A panic is a line of the log, and the panicking thread waits only a short time until the line is written.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, and what is tested.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use artifactd::config::Settings;

/// The variable that makes the test process log and panic.
const CHILD: &str = "PANICS_LOGGED_CHILD";

/// Runs the test called `test` in another process, with [`CHILD`] set.
fn child(test: &str, stderr: Stdio) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

/// Starts the log, and panics in three threads, as the handler of a request would.
fn log_and_panic() {
    artifactd::log::init(&Settings::from_layers(None, [], &[]).unwrap().telemetry).unwrap();
    for number in 0..3 {
        let ended = thread::Builder::new().name("handler".into()).spawn(move || panic!("number {number}"));
        assert!(ended.unwrap().join().is_err());
    }
    println!("alive");
}

#[test]
fn a_panic_is_one_line_of_the_log() {
    if std::env::var_os(CHILD).is_some() {
        return log_and_panic();
    }
    let output = child("a_panic_is_one_line_of_the_log", Stdio::piped()).wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["message"], format!("panicked: number {number}"));
        assert_eq!((&line["level"], &line["thread"]), (&"ERROR".into(), &"handler".into()));
        assert!(line["at"].as_str().unwrap().contains("panics_logged.rs:"), "{line}");
    }
}

#[test]
fn a_panicking_thread_continues_if_nobody_reads_standard_error() {
    if std::env::var_os(CHILD).is_some() {
        return log_and_panic();
    }
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // The pipe is full, so the child cannot write to standard error.
    writer.write_all(&vec![b'\n'; 64 * 1024]).unwrap();
    let mut child = child("a_panicking_thread_continues_if_nobody_reads_standard_error", writer.into());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line == "alive"), "the process blocks or has ended");
    // The pipe is read again, so that the child can write its lines and end.
    thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
}
