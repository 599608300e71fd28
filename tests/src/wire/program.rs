//! Where the program is, and the keys that it makes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The program: `ARTIFACTD_BIN`, or the one beside the tests.
pub fn artifactd() -> PathBuf {
    if let Some(path) = std::env::var_os("ARTIFACTD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().skip(1).take(2).map(|folder| folder.join("artifactd"));
    beside.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "there is no program artifactd beside {}; run `cargo build --package artifactd`",
            test.display()
        )
    })
}

/// The keys of every server of this process.
#[derive(Debug)]
pub struct Keys {
    folder: TempDir,
    /// The private key.
    pub pem: String,
    /// Its id.
    pub kid: String,
}

impl Keys {
    /// The file of public keys.
    pub fn jwks(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    /// Makes keys in a folder of their own.
    pub fn generate() -> Self {
        let folder = TempDir::new().unwrap();
        let output = Command::new(artifactd()).arg("keygen").arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "keygen: {}", String::from_utf8_lossy(&output.stderr));
        let pem = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "pem"))
            .expect("keygen writes a PEM");
        let jwks: Value =
            serde_json::from_slice(&fs::read(folder.path().join("jwks.json")).unwrap()).unwrap();
        let kid = jwks["keys"][0]["kid"].as_str().expect("the key has an id").to_owned();
        Self { pem: fs::read_to_string(pem).unwrap(), kid, folder }
    }
}

/// The keys, made once.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(Keys::generate)
}
