//! The driver's name.

/// The name in configurations and URLs: lower-case letters and digits.
pub const NAME: &str = "template";
