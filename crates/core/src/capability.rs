//! What a store offers beyond the contract that every driver fulfils: flags and limits.
//!
//! The flags are defined in one table below. This module must never know a driver's name.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// What a flag stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagKind {
    /// A verb. If the flag is advertised, the verb works. If not, the verb returns
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with this flag.
    Verb,
    /// A property of the whole store. No verb returns [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with
    /// this flag. The flag's description says what holds for a store that does not advertise the flag.
    Guarantee,
}

macro_rules! flags {
    ($($(#[$meta:meta])* $name:ident = $name_text:literal, $kind:ident, $description:literal;)+) => {
        /// A verb or a guarantee that a store may advertise. The conformance suite has two tests for each flag: one for
        /// stores that advertise the flag, and one for stores that do not.
        ///
        /// The enum is not `#[non_exhaustive]`. The suite matches on the flag without a wildcard, so a new flag without
        /// checks does not compile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Flag {
            $(#[doc = $description] $name,)+
        }

        impl Flag {
            /// Every flag, in the order of the table.
            pub const ALL: &'static [Flag] = &[$(Flag::$name,)+];

            /// The flag's name on the wire, in the docs and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self { $(Flag::$name => $name_text,)+ }
            }

            /// What the flag stands for.
            pub const fn kind(self) -> FlagKind {
                match self { $(Flag::$name => FlagKind::$kind,)+ }
            }

            /// What holds if the flag is advertised and what holds if it is not, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Flag::$name => $description,)+ }
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
        "An acknowledged put survives a kill of the process and, if the storage honours flushes, a power failure; without it, each artifact of a reopened store is complete or missing, and all are missing if the store has no location to reopen.";
    Shared = "shared", Guarantee,
        "Several processes may open one location at the same time and see each other's artifacts; without it, a second open is refused, or the store has no location to open twice.";
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The flags and limits that a store advertises. Plain data, cheap to copy.
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
    /// A set of bits: the bit `flag as u32` is 1 if `flag` is advertised.
    flags: u32,
    max_artifact_bytes: u64,
    max_presign_expiry: Duration,
}

impl Capabilities {
    /// No flag, no limit on an artifact's size, no presigning.
    pub const fn new() -> Self {
        Self { flags: 0, max_artifact_bytes: u64::MAX, max_presign_expiry: Duration::ZERO }
    }

    /// Adds `flag` to the advertised flags.
    #[must_use]
    pub const fn with(mut self, flag: Flag) -> Self {
        self.flags |= 1 << flag as u32;
        self
    }

    /// Removes `flag` from the advertised flags.
    #[must_use]
    pub const fn without(mut self, flag: Flag) -> Self {
        self.flags &= !(1 << flag as u32);
        self
    }

    /// Limits artifacts to `bytes`. A body of exactly this size is stored. The put of a larger body returns
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    #[must_use]
    pub const fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Limits the expiry of presigned URLs to `expiry`.
    #[must_use]
    pub const fn max_presign_expiry(mut self, expiry: Duration) -> Self {
        self.max_presign_expiry = expiry;
        self
    }

    /// Whether `flag` is advertised.
    pub const fn has(&self, flag: Flag) -> bool {
        self.flags & (1 << flag as u32) != 0
    }

    /// The largest artifact, in bytes; `u64::MAX` if the store sets no limit of its own.
    pub const fn artifact_bytes_limit(&self) -> u64 {
        self.max_artifact_bytes
    }

    /// The longest expiry of a presigned URL; zero if nothing can be presigned.
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
            map.entry(&flag.as_str(), &self.has(*flag));
        }
        map.entry(&"max_artifact_bytes", &self.max_artifact_bytes)
            .entry(&"max_presign_expiry", &self.max_presign_expiry)
            .finish()
    }
}

/// A flat map: a boolean under the name of each flag, then the limits. `max_artifact_bytes` is omitted if there is no
/// limit. `max_presign_expiry_seconds` is omitted if nothing can be presigned.
impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for flag in Flag::ALL {
            map.serialize_entry(flag.as_str(), &self.has(*flag))?;
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
