//! The commit of a build: the build script finds it in a checkout, and `--version` prints it.
#![allow(clippy::unwrap_used)] // Helpers of tests.

#[allow(dead_code, clippy::print_stdout)] // Its `main` runs only in builds, and prints to cargo.
#[path = "../../build.rs"]
mod build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use build::find_commit;
use tempfile::TempDir;

const FIRST: &str = "0123456789abcdef0123456789abcdef01234567";
const SECOND: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A directory with these files.
fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn line(hash: &str) -> String {
    format!("{hash}\n")
}

#[test]
fn the_commit_is_that_of_the_current_branch() {
    let root = dir_with(&[
        (".git/HEAD", "ref: refs/heads/topic/a\n"),
        (".git/refs/heads/topic/a", &line(FIRST)),
        (".git/refs/heads/main", &line(SECOND)),
        (".git/packed-refs", &format!("# pack-refs\n{SECOND} refs/heads/topic/a\n")),
    ]);
    let (commit, watched) = find_commit(root.path()).unwrap();
    assert_eq!(commit.as_deref(), Some(FIRST));
    let git = root.path().join(".git");
    assert_eq!(watched, [git.join("HEAD"), git.join("refs/heads/topic/a"), git.join("packed-refs")]);
}

#[test]
fn the_commit_of_a_packed_branch_is_found_and_the_next_commit_is_noticed() {
    let packed = format!("# pack-refs\n{SECOND} refs/heads/x/main\n{FIRST} refs/heads/main\n^{SECOND}\n");
    let root = dir_with(&[
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/packed-refs", &packed),
        (".git/refs/heads/other", &line(SECOND)),
    ]);
    let (commit, watched) = find_commit(root.path()).unwrap();
    assert_eq!(commit.as_deref(), Some(FIRST));
    assert!(
        watched.contains(&root.path().join(".git/refs/heads")),
        "the directory in which the next commit creates a file must be watched"
    );
    assert!(
        watched.iter().all(|path| path.exists()),
        "a missing path would make cargo rebuild every time: {watched:?}"
    );
}

#[test]
fn the_commit_of_a_detached_head_is_the_hash_in_the_file_head() {
    let root = dir_with(&[(".git/HEAD", &line(FIRST))]);
    let (commit, watched) = find_commit(root.path()).unwrap();
    assert_eq!((commit.as_deref(), watched), (Some(FIRST), vec![root.path().join(".git/HEAD")]));
}

#[test]
fn the_commit_of_a_worktree_is_its_own() {
    let root = dir_with(&[
        ("main/.git/HEAD", "ref: refs/heads/main\n"),
        ("main/.git/refs/heads/main", &line(SECOND)),
        ("main/.git/refs/heads/side", &line(FIRST)),
        ("main/.git/worktrees/side/HEAD", "ref: refs/heads/side\n"),
        ("main/.git/worktrees/side/commondir", "../..\n"),
    ]);
    let side = root.path().join("side");
    fs::create_dir(&side).unwrap();
    let own = root.path().join("main/.git/worktrees/side");
    fs::write(side.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
    assert_eq!(find_commit(&side).unwrap().0.as_deref(), Some(FIRST));
}

#[test]
fn a_directory_that_is_not_a_checkout_has_no_commit() {
    for files in [&[][..], &[(".git", "nonsense")], &[(".git/config", "")]] {
        assert_eq!(find_commit(dir_with(files).path()), None, "{files:?}");
    }
    let unborn = dir_with(&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/.keep", "")]);
    assert_eq!(find_commit(unborn.path()).unwrap().0, None);
}

#[test]
fn the_program_prints_the_commit_of_the_checkout_that_it_is_built_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let expected = match option_env!("ARTIFACTD_COMMIT") {
        Some(commit) => commit.to_owned(),
        None => find_commit(&root).and_then(|(commit, _)| commit).unwrap_or_else(|| "unknown".to_owned()),
    };
    let output =
        Command::new(PathBuf::from(env!("CARGO_BIN_EXE_artifactd"))).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert!(version.ends_with(&format!(" ({expected})\n")), "{version} does not have the commit {expected}");
}
