//! `artifactd dev`: a local server that keeps its key, token and store in one folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Request, artifactd_path};
use tempfile::TempDir;

/// A server started with `artifactd dev`, in a folder of its own. Dropping the value kills it.
pub(crate) struct DevServer {
    process: Child,
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    /// The example commands that it printed.
    pub(crate) lines: String,
    /// Everything that it printed.
    text: String,
}

impl DevServer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), &[&["--listen", "127.0.0.1:0"], arguments].concat())
    }

    fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        let mut process = command(folder.path(), arguments).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut url, mut text) = (String::new(), String::new());
        let mut to_try = Vec::new();
        for line in lines {
            if let Some(address) = line.strip_prefix("artifactd listens on ") {
                address.clone_into(&mut url);
            }
            text.extend([&line, "\n"]);
            if line.contains("curl ") {
                to_try.push(line.trim().to_owned());
            }
            if to_try.len() == 3 {
                break;
            }
        }
        Self { process, folder, url, lines: to_try.join("\n"), text }
    }

    /// Kills it with SIGKILL and starts another one in the same folder.
    fn restart(mut self, arguments: &[&str]) -> Self {
        self.kill();
        // The folder must outlive this value.
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        Self::start_in(folder, arguments)
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(".artifactd").join(name)
    }

    fn token(&self) -> String {
        fs::read_to_string(self.file("dev-token")).unwrap()
    }

    /// The status of `runtime.info` with this token.
    fn status(&self, token: &str) -> u16 {
        let addr = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        let request = Request::new("POST", "/v1/control/runtime.info").bearer(token);
        request.send_to(addr).status
    }

    /// Runs lines in a shell in `folder` and returns their output. Every command must succeed.
    pub(crate) fn run_shell(folder: &Path, lines: &str) -> String {
        let output = Command::new("sh").args(["-euc", lines]).current_dir(folder).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{lines}\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(artifactd_path());
    command.arg("dev").args(arguments).current_dir(folder).stdout(Stdio::piped());
    command
}

/// The exit code and the message of a `dev` that does not start.
fn refused(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = command(folder, arguments).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(30) {
            let _ = child.kill();
            panic!("dev serves: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stderr, stdout } = child.wait_with_output().unwrap();
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_token_is_good_after_a_restart_and_after_kill_9() {
    let first = DevServer::start(&[]);
    let token = first.token();
    assert_eq!(first.status(&token), 200);
    for name in ["dev-token", "dev-key.pem", "dev.lock"] {
        let mode = fs::metadata(first.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let second = first.restart(&["--listen", "127.0.0.1:0"]);
    assert_eq!(second.token(), token);
    assert_eq!(second.status(&token), 200);
    // Another start asks for other rights: the token in the file changes, and the key does not.
    let admin = second.restart(&["--listen", "127.0.0.1:0", "--admin"]);
    assert_ne!(admin.token(), token);
    assert_eq!((admin.status(&admin.token()), admin.status(&token)), (200, 200));
}

#[test]
fn a_second_dev_in_the_same_folder_is_refused_and_names_the_first() {
    let first = DevServer::start(&[]);
    let token = first.token();
    let (code, stderr) = refused(first.folder.path(), &["--listen", "127.0.0.1:0", "--admin"]);
    assert_eq!(code, Some(1), "{stderr}");
    let holder = format!("process {} at {}", first.process.id(), first.url);
    assert!(stderr.contains(&holder) && stderr.contains("--data-dir"), "{stderr}");
    assert_eq!(first.token(), token, "the second one has changed the token");
    assert_eq!(first.status(&token), 200);
    // Another folder is another server.
    let other = DevServer::start(&[]);
    assert_eq!((other.status(&other.token()), other.status(&token)), (200, 401));
}

#[test]
fn a_taken_port_is_refused_with_the_flag_that_chooses_another() {
    let first = DevServer::start(&[]);
    let addr = first.url.strip_prefix("http://").unwrap();
    let elsewhere = TempDir::new().unwrap();
    let (code, stderr) = refused(elsewhere.path(), &["--listen", addr]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {addr}: ")), "{stderr}");
    assert!(stderr.contains("--listen") && !stderr.contains("server.bind_addr"), "{stderr}");
}

#[test]
fn a_name_of_this_machine_or_a_port_alone_is_enough_to_listen() {
    for listen in ["localhost:0", ":0"] {
        let dev = DevServer::start_in(TempDir::new().unwrap(), &["--listen", listen]);
        assert!(dev.url.starts_with("http://127.0.0.1:"), "{listen}: {}", dev.url);
        assert_eq!(dev.status(&dev.token()), 200, "{listen}");
    }
    let folder = TempDir::new().unwrap();
    for (listen, reason) in [("example.org:80", "localhost:18080"), ("0.0.0.0:0", "not a loopback address")] {
        let (code, stderr) = refused(folder.path(), &["--listen", listen]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn dev_prints_its_store_its_limits_and_how_to_stop() {
    let dev = DevServer::start(&["--set", "protocol.max_upload_bytes=3MiB"]);
    for part in ["sqlite in ./.artifactd\n", "3 MiB an upload, 4 MiB by artifacts.put", "Ctrl-C"] {
        assert!(dev.text.contains(part), "{part}: {}", dev.text);
    }
    let addr = dev.url.strip_prefix("http://").unwrap().parse().unwrap();
    let too_large = Request::new("PUT", "/v1/artifacts").bearer(dev.token()).body(vec![1; (3 << 20) + 1]);
    too_large.send_to(addr).expect_refusal("request_too_large");
    assert!(dev.text.contains(&dev.token()), "{}", dev.text);
}
