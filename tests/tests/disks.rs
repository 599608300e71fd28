//! Full and read-only disks. Each test mounts a small real file system in its own mount namespace, which ends with
//! the process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // The helper belongs to the tests.

use std::process::Command;

/// Runs a scenario of `fault-probe` on a fresh file system of `size`.
fn run_scenario(scenario: &str, driver: &str, size: &str) {
    let folder = tempfile::tempdir().unwrap();
    let probe = env!("CARGO_BIN_EXE_fault-probe");
    let script = format!(
        "mount -t tmpfs -o size={size},mode=0700 tmpfs '{0}' && exec '{probe}' {scenario} {driver} '{0}'",
        folder.path().display()
    );
    // Root creates a mount namespace. Other users create a user namespace around it.
    let own = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    let flags: &[&str] = if own { &["--mount"] } else { &["--map-root-user", "--mount"] };
    let output = Command::new("unshare").args(flags).args(["sh", "-c", &script]).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs unshare(1) of util-linux: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{stderr}\nIf the mount failed, run as root or allow unprivileged user namespaces."
    );
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn fs_keeps_everything_through_a_full_disk() {
    run_scenario("full", "fs", "8m");
}

#[test]
fn sqlite_keeps_everything_through_a_full_disk() {
    run_scenario("full", "sqlite", "12m");
}

#[test]
fn fs_says_that_a_file_system_is_read_only() {
    run_scenario("readonly", "fs", "8m");
}

#[test]
fn sqlite_says_that_a_file_system_is_read_only() {
    run_scenario("readonly", "sqlite", "8m");
}
