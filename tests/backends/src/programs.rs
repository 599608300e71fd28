//! Where installed programs are, and as whom they may run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// A user by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whom a server that refuses root runs as: nobody else than us, unless we are root.
pub(crate) fn unprivileged() -> Result<Option<User>, Error> {
    if output("id", &["-u"]).as_deref() != Some("0") {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    ["postgres", "nobody"].iter().find_map(|name| user_in(&passwd, name)).map(Some).ok_or_else(|| {
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`".into()
    })
}

fn user_in(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// A program in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The folder of tools that were built for the tests.
pub(crate) fn tools() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ARTIFACT_STORE_TOOLS").or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
        Some(cache.join("artifact-store"))
    })
}

/// The folder of PostgreSQL's programs.
pub(crate) fn postgres() -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os("ARTIFACT_STORE_TEST_POSTGRES_BIN") {
        let named = PathBuf::from(named);
        return with_postgres(&named).ok_or_else(|| {
            format!("no initdb and postgres in ARTIFACT_STORE_TEST_POSTGRES_BIN={}", named.display()).into()
        });
    }
    let from_path = in_path("initdb")
        .and_then(|initdb| initdb.canonicalize().ok())
        .and_then(|initdb| initdb.parent().and_then(with_postgres));
    from_path.or_else(newest_of_debian).or_else(of_pg_config).ok_or_else(|| {
        "no PostgreSQL server is installed (initdb, postgres): install it (Debian: apt-get install postgresql), or \
         name its folder in ARTIFACT_STORE_TEST_POSTGRES_BIN, or a running one in ARTIFACT_STORE_TEST_POSTGRES_URL"
            .into()
    })
}

/// The server's major version, or 0 if it does not tell.
pub(crate) fn postgres_version(bin: &Path) -> u32 {
    output(&bin.join("postgres").to_string_lossy(), &["--version"]).and_then(|text| major(&text)).unwrap_or(0)
}

fn major(text: &str) -> Option<u32> {
    let version =
        text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    version.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

fn with_postgres(folder: &Path) -> Option<PathBuf> {
    (folder.join("initdb").is_file() && folder.join("postgres").is_file()).then(|| folder.to_owned())
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.iter().rev().find_map(|(_, bin)| with_postgres(bin))
}

fn of_pg_config() -> Option<PathBuf> {
    with_postgres(Path::new(&output("pg_config", &["--bindir"])?))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_whatever_stands_around_it() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("postgres"), None);
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        let user = user_in(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(user_in(passwd, "nobody").is_none());
    }
}
