//! What a store promises beyond the contract that every driver owes: flags and numbers.
//!
//! A flag is a row of the one table below. Nothing here may be decided by a driver's name.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// How a flag can be put to the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagKind {
    /// The flag stands for a verb: advertised, it works; not advertised, it answers
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with this flag.
    Verb,
    /// The flag stands for a guarantee that no single call can refuse; it has an opposite of its own, named in its
    /// sentence.
    Guarantee,
}

macro_rules! flags {
    ($($(#[$meta:meta])* $name:ident = $word:literal, $kind:ident, $sentence:literal;)+) => {
        /// A promise that a store may or may not make. The conformance suite proves each one both ways.
        ///
        /// It is not `#[non_exhaustive]`: the suite picks the probes of each flag in a match without a wildcard, so
        /// a flag without probes does not compile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Flag {
            $(#[doc = $sentence] $name,)+
        }

        impl Flag {
            /// Every flag, in the order of the table.
            pub const ALL: &'static [Flag] = &[$(Flag::$name,)+];

            /// The flag's word, as the wire, the docs and the command line spell it.
            pub const fn word(self) -> &'static str {
                match self { $(Flag::$name => $word,)+ }
            }

            /// How the flag is proved.
            pub const fn kind(self) -> FlagKind {
                match self { $(Flag::$name => FlagKind::$kind,)+ }
            }

            /// What the flag promises, and what its absence means, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Flag::$name => $sentence,)+ }
            }
        }
    };
}

flags! {
    PresignGet = "presign_get", Verb,
        "A URL that downloads one artifact straight from the storage; without it, presigning a download is refused.";
    PresignPut = "presign_put", Verb,
        "A URL that uploads exactly one announced body straight to the storage; without it, presigning an upload is refused.";
    Durable = "durable", Guarantee,
        "An acknowledged put survives a kill and, on storage that keeps its word, a power cut; without it, reopening finds whole artifacts or nothing, and nothing at all where the store has no place to reopen.";
    Shared = "shared", Guarantee,
        "Several processes may open one place at once and see each other's artifacts; without it, a second open is refused, or there is no place to open twice.";
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The flags and numbers that a store advertises. Plain data, cheap to copy.
///
/// # Examples
/// ```
/// use artifact_store_core::{Capabilities, Flag};
///
/// let capabilities = Capabilities::new().with(Flag::Durable).max_artifact_bytes(1 << 30);
/// assert!(capabilities.has(Flag::Durable));
/// assert!(!capabilities.has(Flag::PresignGet));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    flags: u32,
    max_artifact_bytes: u64,
    max_presign_expiry: Duration,
}

impl Capabilities {
    /// No flag, no bound on an artifact's size, no presigning.
    pub const fn new() -> Self {
        Self { flags: 0, max_artifact_bytes: u64::MAX, max_presign_expiry: Duration::ZERO }
    }

    /// The same with `flag` advertised.
    #[must_use]
    pub const fn with(mut self, flag: Flag) -> Self {
        self.flags |= 1 << flag as u32;
        self
    }

    /// The same with `flag` not advertised.
    #[must_use]
    pub const fn without(mut self, flag: Flag) -> Self {
        self.flags &= !(1 << flag as u32);
        self
    }

    /// The same with artifacts of at most `bytes`: a body of exactly that size is stored, one more byte is
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    #[must_use]
    pub const fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// The same with presigned URLs that live at most `expiry`.
    #[must_use]
    pub const fn max_presign_expiry(mut self, expiry: Duration) -> Self {
        self.max_presign_expiry = expiry;
        self
    }

    /// Whether `flag` is advertised.
    pub const fn has(&self, flag: Flag) -> bool {
        self.flags & (1 << flag as u32) != 0
    }

    /// The largest artifact, in bytes; `u64::MAX` where the store sets no bound of its own.
    pub const fn artifact_bytes_limit(&self) -> u64 {
        self.max_artifact_bytes
    }

    /// The longest life of a presigned URL; zero where nothing can be presigned.
    pub const fn presign_expiry_limit(&self) -> Duration {
        self.max_presign_expiry
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for flag in Flag::ALL {
            map.entry(&flag.word(), &self.has(*flag));
        }
        map.entry(&"max_artifact_bytes", &self.max_artifact_bytes)
            .entry(&"max_presign_expiry", &self.max_presign_expiry)
            .finish()
    }
}

/// One flat map: each flag's word to a boolean, then the numbers (`max_artifact_bytes` in bytes, left out where
/// there is no bound; `max_presign_expiry_seconds`, left out where nothing can be presigned).
impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for flag in Flag::ALL {
            map.serialize_entry(flag.word(), &self.has(*flag))?;
        }
        if self.max_artifact_bytes != u64::MAX {
            map.serialize_entry("max_artifact_bytes", &self.max_artifact_bytes)?;
        }
        if !self.max_presign_expiry.is_zero() {
            map.serialize_entry("max_presign_expiry_seconds", &self.max_presign_expiry.as_secs())?;
        }
        map.end()
    }
}
