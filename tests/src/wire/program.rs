//! The path of the program, and the keys that it generates.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The program: `ARTIFACTD_BIN`, or the one next to the tests.
pub fn artifactd_path() -> PathBuf {
    if let Some(path) = std::env::var_os("ARTIFACTD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().skip(1).take(2).map(|folder| folder.join("artifactd"));
    beside.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no program artifactd next to {}; run `cargo build --package artifactd --features full`",
            test.display()
        )
    })
}

/// The key pair that signs the tokens for a server.
#[derive(Debug)]
pub struct SigningKey {
    folder: TempDir,
    /// The private key in PEM.
    pub pem: String,
    /// The id of the key.
    pub kid: String,
}

impl SigningKey {
    /// The file with the public key, as a JWKS.
    pub fn jwks(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    /// Generates a key pair in a folder of its own.
    pub fn generate() -> Self {
        let folder = TempDir::new().unwrap();
        let output = Command::new(artifactd_path()).arg("keygen").arg(folder.path()).output().unwrap();
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

/// The key pair of every server of this process, generated once.
pub fn signing_key() -> &'static SigningKey {
    static KEYS: OnceLock<SigningKey> = OnceLock::new();
    KEYS.get_or_init(SigningKey::generate)
}
