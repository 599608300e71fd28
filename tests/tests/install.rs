//! `tests/install` on a machine that lacks packages.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

/// Runs `tests/install` with only these programs in `PATH`.
fn install(programs: &[&str], args: &[&str]) -> Output {
    let bin = tempfile::tempdir().unwrap();
    for program in programs {
        let path = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(program))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no {program} in PATH"));
        symlink(path, bin.path().join(program)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install");
    Command::new("/bin/bash").arg(script).args(args).env("PATH", bin.path()).output().unwrap()
}

const SHELL_TOOLS: [&str; 5] = ["cat", "env", "id", "sort", "timeout"];

#[test]
fn missing_packages_are_printed_as_one_line_to_copy() {
    let output = install(&SHELL_TOOLS, &["--no-install"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    let line =
        text.lines().find(|line| line.starts_with("apt-get install ")).unwrap_or_else(|| panic!("{text}"));
    for package in ["curl", "gcc", "libc6-dev", "postgresql-client", "python3", "python3-venv", "util-linux"]
    {
        assert!(line.split(' ').any(|word| word == package), "{package} in {line}");
    }
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
}

#[test]
fn without_an_installer_nothing_is_installed() {
    let output = install(&SHELL_TOOLS, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("apt-get install "));
}

#[test]
fn a_machine_that_has_everything_needs_nothing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install");
    let output = Command::new(script).arg("--no-install").output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}
