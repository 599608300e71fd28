//! Encryption of records in objects' metadata: [`RecordKey`].
//!
//! The holder of a presigned URL receives the object's user metadata. An encrypted record reveals only its length. The
//! store's key is stored in the bucket. So encryption protects records from holders of URLs, but not from readers of
//! the bucket.
//!
//! Each record is encrypted with AES-256-GCM and a key of its own. That key is derived: it is the HMAC-SHA256 of the
//! put's mark, computed with the store's key. The mark is a random value that identifies the put. A mark is used once,
//! so each derived key encrypts one record, and a fixed nonce is safe. This module must never send a request.

use std::fmt;

use artifact_store_core::StoreError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

/// The first bytes of the HMAC's input. They separate this use of the store's key from other uses.
const DOMAIN: &[u8] = b"artifact-store s3 record v2\0";
/// The length of a key's id, in bytes.
pub(crate) const ID_BYTES: usize = 8;
/// The length of a key of AES-256, in bytes.
const KEY_BYTES: usize = 32;
/// The number of bytes that encryption adds: the key's id, and the 16 bytes of the tag of AES-GCM.
pub(crate) const OVERHEAD_BYTES: usize = ID_BYTES + 16;

/// The id of a key. It precedes the ciphertext.
pub(crate) type RecordKeyId = [u8; ID_BYTES];

/// A key that encrypts records. The debug output shows only the key's id.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RecordKey {
    id: RecordKeyId,
    key: [u8; KEY_BYTES],
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecordKey").field(&self.id_text()).finish()
    }
}

impl RecordKey {
    /// A new random key.
    ///
    /// # Errors
    /// `Backend` if the system has no randomness.
    pub(crate) fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; ID_BYTES + KEY_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| StoreError::backend("the system has no randomness").with_source(error))?;
        let (mut id, mut key) = ([0; ID_BYTES], [0; KEY_BYTES]);
        id.copy_from_slice(&bytes[..ID_BYTES]);
        key.copy_from_slice(&bytes[ID_BYTES..]);
        Ok(Self { id, key })
    }

    pub(crate) fn id(&self) -> RecordKeyId {
        self.id
    }

    /// The id in hex, as in the name of the object that stores the key.
    pub(crate) fn id_text(&self) -> String {
        HEXLOWER.encode(&self.id)
    }

    /// The id and the key in hex, separated by a dot: the content of the object that stores the key.
    pub(crate) fn to_text(&self) -> String {
        format!("{}.{}", self.id_text(), HEXLOWER.encode(&self.key))
    }

    /// Parses what [`to_text`](Self::to_text) wrote; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, key) = text.trim().split_once('.')?;
        let id = HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()?;
        let key = HEXLOWER.decode(key.as_bytes()).ok()?.try_into().ok()?;
        Some(Self { id, key })
    }

    /// Encrypts `plaintext` for the put with this mark. Returns the id of this key, followed by the ciphertext and its
    /// tag.
    ///
    /// # Errors
    /// `Backend` if the library fails.
    pub(crate) fn encrypt(&self, mark: &str, plaintext: &[u8]) -> Result<Vec<u8>, StoreError> {
        let failed = || StoreError::backend("a record could not be encrypted");
        let mut bytes = plaintext.to_vec();
        let key = self.derive_key(mark).ok_or_else(failed)?;
        key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes).map_err(|_| failed())?;
        Ok([&self.id[..], &bytes].concat())
    }

    /// Decrypts `ciphertext`, which must not contain the key's id. Returns `None` if the ciphertext was altered, or was
    /// encrypted with another key or mark.
    pub(crate) fn decrypt(&self, mark: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = ciphertext.to_vec();
        let length = self.derive_key(mark)?.open_in_place(nonce(), Aad::empty(), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// The key for the record of the put with this mark; `None` if the library fails.
    fn derive_key(&self, mark: &str) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.key));
        context.update(DOMAIN);
        context.update(mark.as_bytes());
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
    }
}

/// The nonce of every record. It is the same for all records, because each record has a key of its own.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::{ID_BYTES, OVERHEAD_BYTES, RecordKey};

    #[test]
    fn a_record_decrypts_only_with_its_key_and_mark() {
        let (key, other) = (RecordKey::random().unwrap(), RecordKey::random().unwrap());
        let record = b"a record";
        let encrypted = key.encrypt("mark", record).unwrap();
        assert_eq!(encrypted.len(), record.len() + OVERHEAD_BYTES);
        assert_eq!(encrypted[..ID_BYTES], key.id());
        assert_eq!(key.decrypt("mark", &encrypted[ID_BYTES..]).unwrap(), record);
        assert!(key.decrypt("other", &encrypted[ID_BYTES..]).is_none());
        assert!(other.decrypt("mark", &encrypted[ID_BYTES..]).is_none());
        for byte in ID_BYTES..encrypted.len() {
            let mut altered = encrypted.clone();
            altered[byte] ^= 1;
            assert!(key.decrypt("mark", &altered[ID_BYTES..]).is_none(), "byte {byte}");
        }
    }

    #[test]
    fn the_text_of_a_key_parses_to_this_key_and_its_debug_output_hides_it() {
        let key = RecordKey::random().unwrap();
        assert_eq!(RecordKey::parse(&key.to_text()), Some(key.clone()));
        let secret = key.to_text().split_once('.').unwrap().1.to_owned();
        assert!(!format!("{key:?}").contains(&secret));
        for bad in ["", ".", "00.00", "x.y"] {
            assert_eq!(RecordKey::parse(bad), None, "{bad}");
        }
    }
}
