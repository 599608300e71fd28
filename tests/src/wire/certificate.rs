//! A self-signed certificate (RFC 5280), written byte by byte. It has what a TLS test needs, and needs no other
//! crate.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// Object identifiers: ecdsa-with-SHA256, commonName, subjectAltName, and id-ecPublicKey on prime256v1 with their
/// headers.
const ECDSA_WITH_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
const COMMON_NAME: &[u8] = b"\x06\x03\x55\x04\x03";
const SUBJECT_ALT_NAME: &[u8] = b"\x06\x03\x55\x1d\x11";
const EC_PUBLIC_KEY_P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

const SEQUENCE: u8 = 0x30;

/// A certificate with its private key.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// Its private key as PKCS#8.
    pub key: Vec<u8>,
}

impl Certificate {
    /// A certificate for an IPv4 address, valid until the end of `until_year` (two digits, this century).
    pub fn new(host: [u8; 4], until_year: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let algorithm = der(SEQUENCE, &[ECDSA_WITH_SHA256]);
        let name = der(
            SEQUENCE,
            &[&der(0x31, &[&der(SEQUENCE, &[COMMON_NAME, &der(0x0c, &[b"a provider of keys"])])])],
        );
        let until = format!("{until_year}1231235959Z");
        let validity = der(SEQUENCE, &[&der(0x17, &[b"200101000000Z"]), &der(0x17, &[until.as_bytes()])]);
        let public = der(SEQUENCE, &[EC_PUBLIC_KEY_P256, &der(0x03, &[&[0], pair.public_key().as_ref()])]);
        let hosts = der(0x04, &[&der(SEQUENCE, &[&der(0x87, &[&host])])]);
        let extensions = der(0xa3, &[&der(SEQUENCE, &[&der(SEQUENCE, &[SUBJECT_ALT_NAME, &hosts])])]);
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

/// A DER value: tag, length and content.
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
