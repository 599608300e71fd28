//! The limits of a control payload, and the checks against them.

use serde_json::Value;

use crate::code::Code;
use crate::envelope::Envelope;

/// The shortest expiry of a presigned URL, in nanoseconds: 1 minute.
pub const MIN_EXPIRY_NANOS: u64 = 60 * 1_000_000_000;
/// The longest expiry of a presigned URL, in nanoseconds: 7 days.
pub const MAX_EXPIRY_NANOS: u64 = 7 * 24 * 60 * 60 * 1_000_000_000;

/// The limits of a control payload, which contains the options of a put. A payload exactly at a limit is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// The maximum number of bytes of the payload's compact JSON.
    pub max_bytes: usize,
    /// The maximum number of characters (Unicode scalar values) of a string or of a member's name.
    pub max_chars: usize,
    /// The maximum number of items of a list.
    pub max_items: usize,
    /// The maximum number of members of an object.
    pub max_keys: usize,
    /// The maximum number of nested containers (objects and lists), including the outermost one.
    pub max_depth: usize,
}

/// The limits of the protocol.
pub const PAYLOAD_LIMITS: PayloadLimits =
    PayloadLimits { max_bytes: 16 * 1024, max_chars: 4096, max_items: 50, max_keys: 64, max_depth: 6 };

impl PayloadLimits {
    /// Checks the length of a string.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn check_text(&self, field: &str, text: &str) -> Result<(), Envelope> {
        // A string never has more characters than bytes. So the characters are counted only if the bytes exceed the
        // limit.
        if text.len() > self.max_chars && text.chars().count() > self.max_chars {
            return Err(payload_invalid(format!(
                "{field} holds a text of more than {} characters",
                self.max_chars
            )));
        }
        Ok(())
    }

    /// Checks the number of items of a list.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn check_list_length(&self, field: &str, items: usize) -> Result<(), Envelope> {
        if items > self.max_items {
            return Err(payload_invalid(format!(
                "{field} holds a list of more than {} items",
                self.max_items
            )));
        }
        Ok(())
    }

    /// Checks a JSON value. The value may have at most [`max_depth`](Self::max_depth) nested containers. If the value
    /// is a container, it counts as the first one.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn check_value(&self, field: &str, value: &Value) -> Result<(), Envelope> {
        self.check_value_at(field, value, self.max_depth)
    }

    /// As [`check_value`](Self::check_value), with at most `levels` nested containers.
    fn check_value_at(&self, field: &str, value: &Value, levels: usize) -> Result<(), Envelope> {
        // How many nested containers an item of a container may have. Returns an error if `levels` is 0, because then
        // no container is allowed.
        let levels_for_items = || levels.checked_sub(1).ok_or_else(|| self.too_deep(field));
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.check_text(field, text),
            Value::Array(items) => {
                let item_levels = levels_for_items()?;
                self.check_list_length(field, items.len())?;
                items.iter().try_for_each(|item| self.check_value_at(field, item, item_levels))
            }
            Value::Object(members) => {
                let item_levels = levels_for_items()?;
                if members.len() > self.max_keys {
                    return Err(payload_invalid(format!(
                        "{field} holds an object of more than {} members",
                        self.max_keys
                    )));
                }
                members.iter().try_for_each(|(name, value)| {
                    self.check_text(field, name)?;
                    self.check_value_at(field, value, item_levels)
                })
            }
        }
    }

    /// The refusal of a value that is too deep.
    pub(crate) fn too_deep(&self, field: &str) -> Envelope {
        payload_invalid(format!("{field} is deeper than {} containers", self.max_depth))
    }

    /// Checks the size of compact JSON.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn check_size(&self, field: &str, bytes: usize) -> Result<(), Envelope> {
        if bytes > self.max_bytes {
            return Err(payload_invalid(format!(
                "{field} takes more than {} bytes of compact JSON",
                self.max_bytes
            )));
        }
        Ok(())
    }
}

/// The refusal of a payload that breaks a limit.
pub(crate) fn payload_invalid(message: String) -> Envelope {
    Envelope::new(Code::PayloadInvalid, message)
}
