//! The commands in the documentation work as written.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{artifactd_path, for_each_flavour};
use tempfile::TempDir;

use crate::ada;

/// The first code block of `language` in a page that contains `mark`.
fn code_block(page: &str, language: &str, mark: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page)).unwrap();
    let blocks = page.split("\n```").skip(1).step_by(2);
    let code = blocks.filter_map(|block| block.strip_prefix(language)).find(|code| code.contains(mark));
    code.unwrap_or_else(|| panic!("no block of {language} with {mark}")).to_owned()
}

/// What a user of the page's client would write below it.
const PYTHON_SCRIPT: &str = r#"
import io, sys, urllib.request
harbor, body = Harbor(sys.argv[1], sys.argv[2]), bytes(range(256)) * 4096
ref = harbor.upload(io.BytesIO(body), len(body), "text/plain", filename="a b.txt", tag=["x", "y"], task="build")
assert harbor.download(ref).read() == body
listed = harbor.call("artifacts.list", tags=["y"])
assert [row["ref"] for row in listed["rows"]] == [ref] and listed["rows"][0]["tags"] == ["x", "y"]
try:
    url = harbor.call("artifacts.get_ref", id=ref["id"], scope=ref["scope"])["presigned_url"]
    assert sys.argv[3] in ("presigns", "names")
    assert sys.argv[3] == "names" or urllib.request.urlopen(url).read() == body
except HarborError as error:
    assert (sys.argv[3], error.status, error.code) == ("refuses", 501, "presign_unsupported"), error
elsewhere = Harbor(sys.argv[1], sys.argv[2], session="another")
assert elsewhere.call("artifacts.list")["total_matched"] == 0
"#;

#[test]
fn the_client_in_python_speaks_to_every_driver() {
    let client = code_block("docs/protocol.md", "python", "class Harbor");
    let lines = client.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 30, "the page says thirty lines, but there are {lines}");
    for_each_flavour(|server| {
        let flavour = server.flavour();
        let url = match (flavour.supports_presign(), flavour.accepts_presigned_urls()) {
            (true, true) => "presigns",
            // There is a URL, but the storage does not accept it.
            (true, false) => "names",
            (false, _) => "refuses",
        };
        let output = Command::new("python3")
            .args([
                "-c",
                &format!("{client}\n{PYTHON_SCRIPT}"),
                &format!("http://{}", server.addr()),
                &ada().token(),
                url,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// A server started with `artifactd dev`, in a folder of its own. Dropping the value kills it.
struct DevServer {
    process: Child,
    folder: TempDir,
    url: String,
    /// The example commands that it printed.
    lines: String,
}

impl DevServer {
    fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut process = Command::new(artifactd_path())
            .args(["dev", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut url = String::new();
        let mut to_try = Vec::new();
        for line in lines {
            if let Some(address) = line.strip_prefix("artifactd listens on ") {
                address.clone_into(&mut url);
            }
            if line.contains("curl ") {
                to_try.push(line.trim().to_owned());
            }
            if to_try.len() == 3 {
                break;
            }
        }
        Self { process, folder, url, lines: to_try.join("\n") }
    }

    /// Runs lines in a shell in `folder` and returns their output. Every command must succeed.
    fn run_shell(folder: &Path, lines: &str) -> String {
        let output = Command::new("sh").args(["-euc", lines]).current_dir(folder).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{lines}\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_first_steps_of_the_pages_work_as_written() {
    for (page, mark) in [("README.md", "AUTH="), ("docs/protocol.md", "AUTH=")] {
        for driver in ["sqlite", "fs", "inmem"] {
            let dev = DevServer::start(&["--driver", driver]);
            for name in ["README.md", "Cargo.lock"] {
                fs::write(dev.folder.path().join(name), corpus::bytes(3, 3 << 20)).unwrap();
            }
            let lines = code_block(page, "sh", mark).replace("http://127.0.0.1:18080", &dev.url);
            let stdout = DevServer::run_shell(dev.folder.path(), &lines);
            assert!(
                stdout.contains(r#""total_matched":1"#) && stdout.contains("presign_unsupported"),
                "{page}: {stdout}"
            );
        }
    }
}

#[test]
fn the_lines_that_dev_prints_work_from_any_folder() {
    let dev = DevServer::start(&["--data-dir", "a 'quoted' folder"]);
    let elsewhere = TempDir::new().unwrap();
    let stdout = DevServer::run_shell(elsewhere.path(), &dev.lines);
    assert!(stdout.contains(r#""total_matched":1"#) && stdout.ends_with("hello\n"), "{stdout}");
}
