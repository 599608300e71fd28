//! Sets `ARTIFACTD_COMMIT` for the program. If the environment has a variable of this name, its value is used.
//! Otherwise it is the commit of the git checkout that contains this package. Without a checkout it is `unknown`.
//!
//! The script watches only files that change with a commit or a checkout, so that cargo runs the script again only for
//! a new commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of this package in its repository. A copy in another repository must not get the commit of that repository.
const PACKAGE_PATH: &str = "crates/artifactd";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ARTIFACTD_COMMIT");
    let from_variable = std::env::var("ARTIFACTD_COMMIT").ok().filter(|commit| is_commit_name(commit));
    let commit = from_variable.or_else(|| {
        let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
        let (commit, watched) = find_commit(package.to_str()?.strip_suffix(PACKAGE_PATH)?.as_ref())?;
        for path in watched {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        commit
    });
    println!("cargo::rustc-env=ARTIFACTD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// Whether `text` can be the name of a commit: one word of at most 128 characters.
fn is_commit_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The commit of the checkout at `root`, and the files that determine it. The result is `None` if `root` is not a
/// checkout. The commit is `None` if it cannot be found.
pub(crate) fn find_commit(root: &Path) -> Option<(Option<String>, Vec<PathBuf>)> {
    let mut git_dir = root.join(".git");
    // In a worktree or a submodule, `.git` is a file with the path of the directory.
    if let Ok(text) = fs::read_to_string(&git_dir) {
        git_dir = root.join(text.strip_prefix("gitdir:")?.trim());
    }
    let head = git_dir.join("HEAD");
    let text = fs::read_to_string(&head).ok()?;
    let mut watched = vec![head];
    let Some(name) = text.trim().strip_prefix("ref:").map(str::trim) else {
        return Some((parse_hash(&text), watched));
    };
    // The directory that a worktree shares with its repository.
    let common_dir = fs::read_to_string(git_dir.join("commondir"))
        .map_or_else(|_| git_dir.clone(), |path| git_dir.join(path.trim()));
    let tables = common_dir.join("reftable/tables.list");
    if tables.is_file() {
        watched.push(tables);
        return Some((head_of_git(root), watched));
    }
    let loose = common_dir.join(name);
    let packed = common_dir.join("packed-refs");
    let commit = match fs::read_to_string(&loose) {
        Ok(text) => parse_hash(&text),
        Err(_) => fs::read_to_string(&packed).ok().and_then(|packed| {
            packed.lines().find_map(|line| parse_hash(line.strip_suffix(name)?.strip_suffix(' ')?))
        }),
    };
    // cargo rebuilds every time if a watched path does not exist. If the file of the branch does not exist, the next
    // commit creates it. So the nearest existing directory is watched instead.
    watched.extend(loose.ancestors().find(|path| path.exists()).map(Path::to_owned));
    watched.extend(Some(packed).filter(|packed| packed.is_file()));
    Some((commit, watched))
}

/// Parses the hash of a commit: SHA-1 or SHA-256.
fn parse_hash(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hash = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

/// The commit that `git rev-parse HEAD` reports. For repositories in the reftable format, whose references cannot be
/// read as text files.
fn head_of_git(root: &Path) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(["rev-parse", "HEAD"]).output().ok()?;
    parse_hash(&String::from_utf8(output.stdout).ok()?)
}
