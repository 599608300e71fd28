//! Runs the program as a process, on stores in temporary directories.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The flags of the scope that most tests use.
pub(crate) const SESSION: &[&str] = &["--tenant", "acme", "--user", "ada", "--session", "s-1"];

/// The id of an artifact that does not exist.
pub(crate) const MISSING: &str = "default_00000000000000000000000000000000";

/// Bytes that do not repeat, so that no two chunks are equal.
pub(crate) fn pseudorandom_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// The program, without the environment variables `ARTIFACTD_STORE` and `NO_COLOR`.
pub(crate) fn artifactd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artifactd"));
    command.env_remove("ARTIFACTD_STORE").env_remove("NO_COLOR");
    command
}

/// A store in a temporary directory, beside which a test can write other files.
pub(crate) struct TestStore {
    dir: TempDir,
    pub(crate) url: String,
}

impl TestStore {
    pub(crate) fn new(driver: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("{driver}:{}", dir.path().join("store").display());
        Self { dir, url }
    }

    /// Creates the store by putting one artifact of another tenant.
    pub(crate) fn with_other_tenant(self) -> Self {
        let scope = ["-", "--tenant", "other", "--user", "bob", "--session", "s-9"];
        self.run_with_stdin("put", &scope, b"theirs").expect(0);
        self
    }

    /// A store of each driver that is persistent and needs no server.
    pub(crate) fn of_each_driver() -> [Self; 2] {
        ["fs", "sqlite"].map(Self::new)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The sorted names of the files beside the store.
    pub(crate) fn other_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("store")).collect();
        names.sort();
        names
    }

    /// Runs `artifactd COMMAND ARGS --store …`.
    pub(crate) fn run(&self, command: &str, args: &[&str]) -> Outcome {
        self.run_with_stdin(command, args, b"")
    }

    pub(crate) fn run_with_stdin(&self, command: &str, args: &[&str], stdin: &[u8]) -> Outcome {
        run(artifactd().arg(command).args(args).args(["--store", &self.url]), stdin)
    }

    /// Runs the command in the scope [`SESSION`].
    pub(crate) fn run_in_session(&self, command: &str, args: &[&str]) -> Outcome {
        self.run(command, &[args, SESSION].concat())
    }

    /// Puts `bytes` in the scope [`SESSION`] and returns the id.
    pub(crate) fn put(&self, bytes: &[u8], args: &[&str]) -> String {
        let put = self.run_with_stdin("put", &[&["-"], args, SESSION].concat(), bytes);
        put.expect(0);
        put.text().trim_end().to_owned()
    }

    /// Every file below the directory of the store.
    pub(crate) fn stored_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.path("store")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// The file of an artifact in a store of the driver fs.
    pub(crate) fn stored_file(&self, id: &str) -> PathBuf {
        self.stored_files().into_iter().find(|path| contains_id(path, id)).unwrap()
    }
}

fn contains_id(path: &Path, id: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(id.len()).any(|window| window == id.as_bytes())
}

/// The output and exit code of a process.
#[derive(Debug)]
pub(crate) struct Outcome(Output);

/// Runs the command until the process ends.
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Outcome {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // Writing fails if the process ends without reading its input.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Outcome(output)
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect(&self, exit_code: i32) -> &Self {
        assert_eq!(self.0.status.code(), Some(exit_code), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_message(&self, text: &str) -> &Self {
        assert!(self.stderr().contains(text), "{text:?} is not in: {}", self.stderr());
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.stdout
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
