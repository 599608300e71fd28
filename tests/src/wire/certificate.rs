//! A certificate that vouches for itself (RFC 5280), written byte by byte: all that a test of TLS needs, and no crate more.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// Object identifiers: ecdsa-with-SHA256, commonName, subjectAltName; id-ecPublicKey on prime256v1 with their heads.
const SIGNED: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
const NAME: &[u8] = b"\x06\x03\x55\x04\x03";
const ALTERNATIVE: &[u8] = b"\x06\x03\x55\x1d\x11";
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

const SEQUENCE: u8 = 0x30;

/// A certificate with its private key.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// Its key as PKCS#8.
    pub key: Vec<u8>,
}

impl Certificate {
    /// One for a host's address, good until the end of that year (two digits of this century).
    pub fn new(host: [u8; 4], until_year: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let algorithm = der(SEQUENCE, &[SIGNED]);
        let name =
            der(SEQUENCE, &[&der(0x31, &[&der(SEQUENCE, &[NAME, &der(0x0c, &[b"a provider of keys"])])])]);
        let until = format!("{until_year}1231235959Z");
        let validity = der(SEQUENCE, &[&der(0x17, &[b"200101000000Z"]), &der(0x17, &[until.as_bytes()])]);
        let public = der(SEQUENCE, &[P256, &der(0x03, &[&[0], pair.public_key().as_ref()])]);
        let hosts = der(0x04, &[&der(SEQUENCE, &[&der(0x87, &[&host])])]);
        let extensions = der(0xa3, &[&der(SEQUENCE, &[&der(SEQUENCE, &[ALTERNATIVE, &hosts])])]);
        let (version, serial) = (der(0xa0, &[b"\x02\x01\x02"]), b"\x02\x01\x01");
        let parts = [&version, &serial[..], &algorithm, &name, &validity, &name, &public, &extensions];
        let body = der(SEQUENCE, &parts);
        let signature = pair.sign(&SystemRandom::new(), &body).unwrap();
        let signature = der(0x03, &[&[0], signature.as_ref()]);
        let key = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        Self { der: der(SEQUENCE, &[&body, &algorithm, &signature]), key }
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", super::base64(&self.der))
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

/// A value of DER: its tag, its length, its parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, short @ 0..0x80] => vec![tag, short],
        [0, byte] => vec![tag, 0x81, byte],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}
