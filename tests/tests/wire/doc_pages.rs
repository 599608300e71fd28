//! The commands in the documentation work as written.

use std::fs;
use std::path::Path;
use std::process::Command;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::for_each_flavour;
use tempfile::TempDir;

use crate::ada;
use crate::dev::DevServer;

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
                stdout.contains(r#""total_matched":1"#)
                    && stdout.contains("presign_unsupported")
                    && stdout.trim_end().ends_with(r#"{"deleted":true,"protocol_version":"0.1.0"}"#),
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
