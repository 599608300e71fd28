//! Tells the program which commit it is built from: `ARTIFACTD_COMMIT` of the environment, or what the git checkout around this
//! package stands at, or `unknown`.
//!
//! It looks at the files that a commit or a checkout changes and at no others, so that a build with nothing new does nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where this package is in its repository. A copy of it elsewhere, in somebody else's repository, has nobody's commit.
const PLACE: &str = "crates/artifactd";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ARTIFACTD_COMMIT");
    let given = std::env::var("ARTIFACTD_COMMIT").ok().filter(|commit| is_name(commit));
    let commit = given.or_else(|| {
        let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
        let (commit, watched) = of_checkout(package.to_str()?.strip_suffix(PLACE)?.as_ref())?;
        for path in watched {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        commit
    });
    println!("cargo::rustc-env=ARTIFACTD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// What may be a commit's name: one word.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The commit of the checkout at `root`, and the files that say which it is; `None` where it is no checkout.
pub(crate) fn of_checkout(root: &Path) -> Option<(Option<String>, Vec<PathBuf>)> {
    let mut own = root.join(".git");
    // A worktree or a submodule has a file that names the folder.
    if let Ok(text) = fs::read_to_string(&own) {
        own = root.join(text.strip_prefix("gitdir:")?.trim());
    }
    let head = own.join("HEAD");
    let text = fs::read_to_string(&head).ok()?;
    let mut watched = vec![head];
    let Some(name) = text.trim().strip_prefix("ref:").map(str::trim) else {
        return Some((hash(&text), watched));
    };
    // What a worktree shares with the repository.
    let shared =
        fs::read_to_string(own.join("commondir")).map_or_else(|_| own.clone(), |to| own.join(to.trim()));
    let tables = shared.join("reftable/tables.list");
    if tables.is_file() {
        watched.push(tables);
        return Some((asked(root), watched));
    }
    let loose = shared.join(name);
    let packed = shared.join("packed-refs");
    let commit = match fs::read_to_string(&loose) {
        Ok(text) => hash(&text),
        Err(_) => fs::read_to_string(&packed).ok().and_then(|packed| {
            packed.lines().find_map(|line| hash(line.strip_suffix(name)?.strip_suffix(' ')?))
        }),
    };
    // A path that is not there would make every build a new one. The next commit makes it, in a folder that is.
    watched.extend(loose.ancestors().find(|path| path.exists()).map(Path::to_owned));
    watched.extend(Some(packed).filter(|packed| packed.is_file()));
    Some((commit, watched))
}

/// A commit's hash: SHA-1, or SHA-256.
fn hash(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hash = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

/// What git says, of a repository whose references are in no files of text.
fn asked(root: &Path) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(["rev-parse", "HEAD"]).output().ok()?;
    hash(&String::from_utf8(output.stdout).ok()?)
}
