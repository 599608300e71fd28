//! The bounds of a control payload, and what is held against them.

use serde_json::Value;

use crate::code::Code;
use crate::envelope::Envelope;

/// The bounds of a control payload. A payload exactly at a bound is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadBounds {
    /// Most bytes of its compact JSON.
    pub bytes: usize,
    /// Most characters (Unicode scalar values) of a text, of a member's name too.
    pub chars: usize,
    /// Most items of a list.
    pub items: usize,
    /// Most members of an object.
    pub keys: usize,
    /// Most containers within each other, the outermost being the first.
    pub depth: usize,
}

/// The protocol's bounds.
pub const PAYLOAD_BOUNDS: PayloadBounds =
    PayloadBounds { bytes: 16 * 1024, chars: 4096, items: 50, keys: 64, depth: 6 };

impl PayloadBounds {
    /// Holds a text against the bounds.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn text(&self, place: &str, text: &str) -> Result<(), Envelope> {
        // A text has no more characters than bytes.
        if text.len() > self.chars && text.chars().count() > self.chars {
            return Err(invalid(format!("{place} holds a text of more than {} characters", self.chars)));
        }
        Ok(())
    }

    /// Holds a number of list items against the bounds.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn list(&self, place: &str, items: usize) -> Result<(), Envelope> {
        if items > self.items {
            return Err(invalid(format!("{place} holds a list of more than {} items", self.items)));
        }
        Ok(())
    }

    /// Holds a tree against the bounds, the tree being the first of at most [`depth`](Self::depth) containers.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn tree(&self, place: &str, value: &Value) -> Result<(), Envelope> {
        self.within(place, value, self.depth)
    }

    fn within(&self, place: &str, value: &Value, levels: usize) -> Result<(), Envelope> {
        let below = || levels.checked_sub(1).ok_or_else(|| self.too_deep(place));
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.text(place, text),
            Value::Array(items) => {
                let below = below()?;
                self.list(place, items.len())?;
                items.iter().try_for_each(|item| self.within(place, item, below))
            }
            Value::Object(members) => {
                let below = below()?;
                if members.len() > self.keys {
                    return Err(invalid(format!(
                        "{place} holds an object of more than {} members",
                        self.keys
                    )));
                }
                members.iter().try_for_each(|(name, value)| {
                    self.text(place, name)?;
                    self.within(place, value, below)
                })
            }
        }
    }

    /// The refusal of a tree that is too deep.
    pub(crate) fn too_deep(&self, place: &str) -> Envelope {
        invalid(format!("{place} is deeper than {} containers", self.depth))
    }

    /// Holds the size of compact JSON against the bounds.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`].
    pub(crate) fn size(&self, place: &str, bytes: usize) -> Result<(), Envelope> {
        if bytes > self.bytes {
            return Err(invalid(format!("{place} takes more than {} bytes of compact JSON", self.bytes)));
        }
        Ok(())
    }
}

/// A payload outside of its bounds.
pub(crate) fn invalid(message: String) -> Envelope {
    Envelope::new(Code::PayloadInvalid, message)
}
