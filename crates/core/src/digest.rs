//! The SHA-256 of bytes: [`Digest`] and [`Hasher`], and their BLAKE3: [`Blake3Digest`].
//!
//! This module must never know `StoreError` or `ArtifactId`.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Defines a digest of 32 bytes, written as 64 lower-case hex digits. How it is parsed is in the module `id`.
macro_rules! define_digest {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// A digest from its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The digest as 64 lower-case hex digits.
            pub fn to_hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_hex()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
    };
}

define_digest! {
    /// A SHA-256 digest (FIPS 180-4), written as 64 lower-case hex digits.
    Digest
}

define_digest! {
    /// The BLAKE3 of bytes, written as 64 lower-case hex digits. It does not identify an artifact. Reads use it to check the
    /// bytes, because it is faster than SHA-256 and covers each part of the bytes.
    Blake3Digest
}

impl Digest {
    /// The SHA-256 of `bytes`. Hashing takes about 0.5 ms per MiB, so hash large bodies on a thread for blocking calls.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::Digest;
    /// let empty = Digest::of(b"");
    /// assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

/// Computes the SHA-256 of bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher without input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}
