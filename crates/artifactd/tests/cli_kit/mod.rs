//! Runs the program as a process of its own, on stores in folders of their own.

#![allow(dead_code)] // Each test program uses its part.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The flags of one session's scope.
pub(crate) const SESSION: &[&str] = &["--tenant", "acme", "--user", "ada", "--session", "s-1"];

/// An id that no test's bytes have.
pub(crate) const MISSING: &str = "default_00000000000000000000000000000000";

/// Bytes without a pattern that a chunk could repeat.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// The program, with nothing of the test's environment that it would listen to.
pub(crate) fn artifactd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artifactd"));
    command.env_remove("ARTIFACTD_STORE").env_remove("NO_COLOR");
    command
}

/// A store of some driver, and room for files beside it.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) url: String,
}

impl Place {
    pub(crate) fn new(driver: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("{driver}:{}", folder.path().join("store").display());
        Self { folder, url }
    }

    /// The same, made already: it holds one artifact of somebody else.
    pub(crate) fn made(self) -> Self {
        let scope = ["-", "--tenant", "other", "--user", "bob", "--session", "s-9"];
        self.run_with("put", &scope, b"theirs").expect(0);
        self
    }

    /// One of each driver that keeps what it is given.
    pub(crate) fn of_each_driver() -> [Self; 2] {
        ["fs", "sqlite"].map(Self::new)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Names of everything beside the store.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("store")).collect();
        names.sort();
        names
    }

    /// `artifactd VERB ARGS --store …`.
    pub(crate) fn run(&self, verb: &str, args: &[&str]) -> Done {
        self.run_with(verb, args, b"")
    }

    pub(crate) fn run_with(&self, verb: &str, args: &[&str], stdin: &[u8]) -> Done {
        run(artifactd().arg(verb).args(args).args(["--store", &self.url]), stdin)
    }

    /// The same within [`SESSION`].
    pub(crate) fn within(&self, verb: &str, args: &[&str]) -> Done {
        self.run(verb, &[args, SESSION].concat())
    }

    /// Puts standard input within [`SESSION`] and gives the id.
    pub(crate) fn put(&self, bytes: &[u8], args: &[&str]) -> String {
        let done = self.run_with("put", &[&["-"], args, SESSION].concat(), bytes);
        done.expect(0);
        done.text().trim_end().to_owned()
    }

    /// Every file below the store's folder.
    pub(crate) fn stored_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path("store")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// The fs store's file of an artifact.
    pub(crate) fn stored_file(&self, id: &str) -> PathBuf {
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|_| holds_record(path, id));
        self.stored_files().into_iter().find(is_it).unwrap()
    }
}

fn holds_record(path: &Path, id: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(id.len()).any(|window| window == id.as_bytes())
}

/// What a process left.
#[derive(Debug)]
pub(crate) struct Done(Output);

pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A process that refuses early never reads it.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Done(output)
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(&self, exit: i32) -> &Self {
        assert_eq!(self.0.status.code(), Some(exit), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> &Self {
        assert!(self.errors().contains(words), "{:?} is not in: {}", words, self.errors());
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.stdout
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    pub(crate) fn errors(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
