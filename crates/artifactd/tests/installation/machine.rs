//! A machine for one test: namespaces of mounts, network and processes, in which the test is root. The machine has
//! copies of the folders that the page changes. Its `systemctl` does with the unit of the page what systemd would do.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::page::{Step, steps};

/// The environment variable that is set in the process inside the namespaces.
const INSIDE: &str = "ARTIFACT_STORE_TEST_MACHINE";

/// The URL of the server behind the proxy. The certificate of the page is for this host name.
pub(crate) const PROXY: &str = "https://artifacts.example/store";

const PROGRAMS: [(&str, &str); 7] = [
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("useradd", "passwd"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("nginx", "nginx-light"),
];

/// Runs as root in the new namespaces. `$1` is the home folder of the test, `$2` the program `artifactd`.
const PREPARE: &str = r#"
set -eu
mount --make-rprivate /
mkdir -p "$1/etc" "$1/.cargo/bin"
cp -a /etc/. "$1/etc"
install -m 755 "$2" "$1/.cargo/bin/artifactd"
mount --bind "$1/etc" /etc
for folder in /var/lib /var/log /run /usr/local/bin; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
mkdir /var/lib/nginx /var/log/nginx
userdel artifactd 2>/dev/null || true
rm -rf /etc/artifactd /etc/systemd/system/artifactd.service
mkdir -p /etc/systemd/system /etc/ssl/certs /etc/ssl/private
ip link set lo up
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=artifacts.example \
    -addext subjectAltName=DNS:artifacts.example \
    -keyout /etc/ssl/private/artifacts.example.key -out /etc/ssl/certs/artifacts.example.pem
"#;

/// What systemd does with the unit of the page, as far as the page's commands need it.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
unit=/etc/systemd/system/artifactd.service
value() { sed -n "s/^$1=//p" "$unit"; }
case "$*" in
daemon-reload) ;;
"enable --now artifactd")
    user=$(value User) group=$(value Group)
    install -d -o "$user" -g "$group" -m "$(value StateDirectoryMode)" "/var/lib/$(value StateDirectory)"
    cd /
    env -i PATH="$PATH" setpriv --reuid "$user" --regid "$group" --init-groups --no-new-privs --inh-caps=-all \
        --bounding-set=-all $(value ExecStart) >/var/log/artifactd 2>&1 </dev/null &
    echo $! >/run/artifactd.pid
    ;;
"reload artifactd") kill -HUP "$(cat /run/artifactd.pid)" ;;
"stop artifactd") kill "$(cat /run/artifactd.pid)" ;;
"reload nginx") if [ -s /run/nginx.pid ]; then nginx -s reload; else nginx; fi ;;
*) echo "systemctl: unknown arguments: $*" >&2; exit 1 ;;
esac
"#;

pub(crate) struct Machine {
    home: TempDir,
}

/// Runs the body of the test `name` on a machine of its own. Creating the users of the page needs root: for another
/// user, the test prints that it was not run, and ends.
pub(crate) fn on_a_machine(name: &str, body: fn(&Machine)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Machine::new());
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Written to the stream, because the output of a test that passes is not shown.
        let text =
            format!("\nNOT RUN: {name}: only root can follow docs/operate.md; run the tests as root\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    }
    for (program, package) in PROGRAMS {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap();
        assert!(found.status.success(), "this test needs {program} (Debian: apt-get install {package})");
    }
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

impl Machine {
    fn new() -> Self {
        let machine = Self { home: tempfile::tempdir().unwrap() };
        let home = machine.home.path();
        let status = Command::new("sh")
            .args(["-c", PREPARE, "sh"])
            .arg(home)
            .arg(env!("CARGO_BIN_EXE_artifactd"))
            .status()
            .unwrap();
        assert!(status.success(), "the machine cannot be prepared: it needs the capabilities of root");
        let systemctl = Path::new("/usr/local/bin/systemctl");
        std::fs::write(systemctl, SYSTEMCTL).unwrap();
        std::fs::set_permissions(systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    /// Follows the steps of a section of the page.
    pub(crate) fn follow(&self, title: &str) {
        for step in steps(title) {
            match step {
                Step::Write(path, content) => std::fs::write(path, content).unwrap(),
                Step::Run(commands) => drop(self.sh(&commands)),
            }
        }
    }

    /// The standard output of commands that succeed.
    pub(crate) fn sh(&self, commands: &str) -> String {
        let output = self.command(commands).output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let log = std::fs::read_to_string("/var/log/artifactd").unwrap_or_default();
        assert!(output.status.success(), "{commands}\n{stdout}\n{stderr}\n{log}");
        stdout
    }

    fn command(&self, commands: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-euc", commands])
            .env("HOME", self.home.path())
            .env("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env_remove(INSIDE)
            .stdin(Stdio::null());
        command
    }

    /// A `curl` through the proxy, with the token of the page.
    pub(crate) fn start_curl(&self, args: &str) -> Child {
        let curl = format!(
            "exec curl -sS --cacert /etc/ssl/certs/artifacts.example.pem --resolve artifacts.example:443:127.0.0.1 \
             -H \"Authorization: Bearer $(cat \"$HOME/token\")\" {args}"
        );
        self.command(&curl).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// The status, content type and body of a response through the proxy.
    pub(crate) fn curl(&self, args: &str) -> Answer {
        let end = r"-w '\n%{http_code} %{content_type}'";
        let mut child = self.start_curl(&format!("{end} {args}"));
        drop(child.stdin.take());
        Answer::new(child)
    }

    /// The id of the server's process.
    pub(crate) fn pid(&self) -> String {
        self.sh("cat /run/artifactd.pid").trim().to_owned()
    }

    /// The value of the series in the server's metrics; 0 if there is no such series. The server is asked directly,
    /// without the proxy.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.sh("curl -fsS http://127.0.0.1:18080/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The response that `curl` prints, with its status and content type in a last line.
    pub(crate) fn new(child: Child) -> Self {
        let output = child.wait_with_output().unwrap().stdout;
        let end = output.iter().rposition(|byte| *byte == b'\n').unwrap();
        let last = String::from_utf8_lossy(&output[end + 1..]).into_owned();
        let (status, content_type) = last.split_once(' ').unwrap();
        Self { status: status.into(), content_type: content_type.into(), body: output[..end].to_vec() }
    }

    /// The error code in the body. The body must be an envelope with exactly its two members.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let envelope: Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}: {text}"));
        assert!(self.content_type.starts_with("application/json"), "{self:?}");
        let members = envelope.as_object().unwrap();
        assert!(members.len() == 2 && members["message"].is_string(), "{text}");
        members["code"].as_str().unwrap().to_owned()
    }
}

/// Waits until `condition` returns true, at most 10 seconds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}
