//! Finds installed programs, and the user to run them as.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// A user, by numeric ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user for a server that refuses to run as root. Returns `None` if this process does not run as root.
pub(crate) fn unprivileged_user() -> Result<Option<User>, Error> {
    if run_for_output("id", &["-u"]).as_deref() != Some("0") {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    ["postgres", "nobody"].iter().find_map(|name| find_user(&passwd, name)).map(Some).ok_or_else(|| {
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`".into()
    })
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// Finds a program in `PATH`.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The directory of tools that were built for the tests.
pub(crate) fn tools_dir() -> Option<PathBuf> {
    let env_path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    env_path("ARTIFACT_STORE_TOOLS").or_else(|| {
        let cache =
            env_path("XDG_CACHE_HOME").or_else(|| env_path("HOME").map(|home| home.join(".cache")))?;
        Some(cache.join("artifact-store"))
    })
}

/// Finds the directory of the PostgreSQL programs.
pub(crate) fn postgres_dir() -> Result<PathBuf, Error> {
    if let Some(dir) = std::env::var_os("ARTIFACT_STORE_TEST_POSTGRES_BIN") {
        let dir = PathBuf::from(dir);
        return require_postgres(&dir).ok_or_else(|| {
            format!("no initdb and postgres in ARTIFACT_STORE_TEST_POSTGRES_BIN={}", dir.display()).into()
        });
    }
    let from_path = find_in_path("initdb")
        .and_then(|initdb| initdb.canonicalize().ok())
        .and_then(|initdb| initdb.parent().and_then(require_postgres));
    from_path.or_else(find_debian_postgres).or_else(find_pg_config_postgres).ok_or_else(|| {
        "no PostgreSQL server is installed (initdb, postgres): install it (Debian: apt-get install postgresql), or \
         name its directory in ARTIFACT_STORE_TEST_POSTGRES_BIN, or the URL of a running server in ARTIFACT_STORE_TEST_POSTGRES_URL"
            .into()
    })
}

/// The major version of the server, or 0 if it is unknown.
pub(crate) fn postgres_version(bin: &Path) -> u32 {
    run_for_output(&bin.join("postgres").to_string_lossy(), &["--version"])
        .and_then(|text| parse_major_version(&text))
        .unwrap_or(0)
}

fn parse_major_version(text: &str) -> Option<u32> {
    let version =
        text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    version.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

fn require_postgres(dir: &Path) -> Option<PathBuf> {
    (dir.join("initdb").is_file() && dir.join("postgres").is_file()).then(|| dir.to_owned())
}

fn find_debian_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.iter().rev().find_map(|(_, bin)| require_postgres(bin))
}

fn find_pg_config_postgres() -> Option<PathBuf> {
    require_postgres(Path::new(&run_for_output("pg_config", &["--bindir"])?))
}

fn run_for_output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_within_other_text() {
        assert_eq!(parse_major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major_version("postgres"), None);
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        let user = find_user(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(find_user(passwd, "nobody").is_none());
    }
}
