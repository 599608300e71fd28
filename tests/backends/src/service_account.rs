//! The key of a service account of Google Cloud, made for the tests.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use data_encoding::BASE64;
use serde_json::json;

use crate::Error;

const EMAIL: &str = "tests@artifact-store.iam.gserviceaccount.com";

/// A key with its private part, as a file of Google Cloud has it.
#[derive(Clone)]
pub(crate) struct ServiceAccount {
    json: String,
}

impl ServiceAccount {
    /// Makes a key of 2048 bits.
    pub(crate) fn generate() -> Result<ServiceAccount, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| "no RSA key can be made")?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| "an RSA key cannot be written")?;
        let lines: Vec<String> = BASE64
            .encode(private.as_ref())
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let label = "PRIVATE KEY";
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
        let json = json!({
            "type": "service_account",
            "project_id": "artifact-store",
            "private_key_id": "tests",
            "private_key": pem,
            "client_email": EMAIL,
        });
        Ok(ServiceAccount { json: json.to_string() })
    }

    /// The contents of the file.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").finish_non_exhaustive()
    }
}
