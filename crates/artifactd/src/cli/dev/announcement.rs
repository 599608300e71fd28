//! What `artifactd dev` prints once it listens. This module must never open anything.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use artifact_store::core::Timestamp;

/// What a user needs to know about a server that has started.
#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) addr: SocketAddr,
    pub(super) driver: String,
    pub(super) data_dir: PathBuf,
    pub(super) token_file: PathBuf,
    pub(super) token: String,
    /// When the token expires, in seconds since the Unix epoch.
    pub(super) expires_at: u64,
    /// The largest artifact that `artifacts.put` accepts, in bytes.
    pub(super) max_request_bytes: u64,
    /// The largest upload that the server accepts, in bytes.
    pub(super) max_upload_bytes: u64,
}

impl Announcement {
    /// The text below the line with the address. Its commands can be pasted into a shell.
    pub(super) fn text(&self) -> String {
        let Self { addr, driver, token, .. } = self;
        let quoted = shell_quote(&absolute(&self.token_file).to_string_lossy());
        let bearer = format!("-H \"Authorization: Bearer $(cat {quoted})\"");
        let store = match driver.as_str() {
            "inmem" => "in memory: what is stored is lost when it stops".to_owned(),
            "sqlite" | "fs" => format!("{driver} in {}", self.data_dir.display()),
            _ => driver.clone(),
        };
        let expires_micros = i64::try_from(self.expires_at).unwrap_or_default().saturating_mul(1_000_000);
        // The time is a whole second, so its fraction is not shown.
        let expires = Timestamp::from_micros(expires_micros).to_string().replace(".000000", "");
        let mut text = String::new();
        // Writing into a `String` cannot fail.
        let _ = write!(
            text,
            "\
store       {store}
limits      {} an upload, {} by artifacts.put; to raise them: --set protocol.max_upload_bytes=10GiB
token file  {}, valid until {expires}
token       {token}
stop        Ctrl-C

Put a file, list, and get it back by the id that the first line prints:
  ID=$(echo hello | curl -fsS {bearer} -H 'Content-Type: text/plain' --data-binary @- -X PUT 'http://{addr}/v1/artifacts?filename=hello.txt' | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/'); echo \"$ID\"
  curl -fsS {bearer} -X POST http://{addr}/v1/control/artifacts.list
  curl -fsS {bearer} \"http://{addr}/v1/artifacts/$ID\"
",
            size(self.max_upload_bytes),
            size(self.max_request_bytes),
            self.token_file.display(),
        );
        text
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A number of bytes with the largest unit that divides it.
fn size(bytes: u64) -> String {
    // The number beside each unit is its exponent: 1 KiB is 2^10 bytes.
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| format!("{bytes} bytes"), |(bits, unit)| format!("{} {unit}", bytes >> bits))
}

/// `text` as one word of a shell.
fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(driver: &str) -> String {
        let announcement = Announcement {
            addr: ([127, 0, 0, 1], 7).into(),
            driver: driver.into(),
            data_dir: "./data".into(),
            token_file: "./data/dev-token".into(),
            token: "a.b.c".into(),
            expires_at: 1_764_000_000,
            max_request_bytes: 4 << 20,
            max_upload_bytes: (1 << 30) + 1,
        };
        announcement.text()
    }

    #[test]
    fn a_user_learns_the_store_the_limits_the_token_and_how_to_stop() {
        let text = text("sqlite");
        for part in [
            "sqlite in ./data\n",
            "1073741825 bytes an upload, 4 MiB by artifacts.put",
            "./data/dev-token, valid until 2025-11-24T16:00:00Z\n",
            "a.b.c\n",
            "Ctrl-C",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_store_in_memory_says_what_is_lost() {
        assert!(text("inmem").contains("lost when it stops"));
    }

    #[test]
    fn a_quoted_text_is_one_word() {
        assert_eq!(shell_quote("/a b/it's"), r"'/a b/it'\''s'");
    }
}
