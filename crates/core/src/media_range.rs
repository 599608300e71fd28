//! [`MediaRange`]: which media types a filter selects. The listings of all drivers use this rule.
//!
//! The rule normalizes the stored media type, which may be any text. A range matches if the normalized text contains
//! every part of the range. Some drivers apply the rule in SQL, so SQL must be able to express both steps. This module
//! must never know how a driver stores a media type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A media type or a range of media types that a filter selects.
///
/// | range | matches |
/// |---|---|
/// | `text/plain` | this type with any parameters, or none |
/// | `text/plain; charset=utf-8` | this type with this parameter; other parameters may be present, in any order |
/// | `image/*` | any subtype of this type |
/// | `*/*` | every artifact that has a media type |
///
/// An artifact without a media type matches no range. The comparison ignores ASCII case in type, subtype, parameter
/// names and parameter values. It also ignores spaces, tabs and double quotes. If a quoted value of the stored media
/// type contains a semicolon, the text after it is compared as if it were another parameter.
///
/// # Examples
/// ```
/// use artifact_store_core::MediaRange;
///
/// let plain: MediaRange = "text/plain".parse()?;
/// assert!(plain.matches("Text/Plain; charset=utf-8") && !plain.matches("text/plainer"));
/// let utf8: MediaRange = "text/*; charset=utf-8".parse()?;
/// assert!(utf8.matches("text/csv;header=present;charset=\"UTF-8\"") && !utf8.matches("text/csv"));
/// assert!("text".parse::<MediaRange>().is_err());
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaRange {
    /// The range as it was written.
    text: String,
    /// The texts that the normalized form of a matching media type contains: see [`parts`](Self::parts).
    parts: Vec<String>,
}

impl MediaRange {
    /// The range as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the range includes this media type.
    pub fn matches(&self, media_type: &str) -> bool {
        self.matches_normalized(&Self::normalize(media_type))
    }

    /// For drivers: the parts of the range. A media type matches if its [normalized](Self::normalize) form contains
    /// every part. The first part starts with a space, which occurs only at the start of a normalized form. No part
    /// contains a zero character.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// For drivers: the normalized form of a media type. It is a space, then the text in ASCII lower case without
    /// spaces, tabs and double quotes, then a semicolon.
    pub fn normalize(media_type: &str) -> String {
        let mut normalized = String::with_capacity(media_type.len() + 2);
        normalized.push(' ');
        push_normalized(&mut normalized, media_type);
        normalized.push(';');
        normalized
    }

    /// Whether one of `ranges` includes this media type.
    pub(crate) fn any_matches(ranges: &[Self], media_type: &str) -> bool {
        let normalized = Self::normalize(media_type);
        ranges.iter().any(|range| range.matches_normalized(&normalized))
    }

    fn matches_normalized(&self, normalized: &str) -> bool {
        self.parts.iter().all(|part| normalized.contains(part.as_str()))
    }
}

/// Appends `text` in lower case, without the characters that a comparison ignores.
fn push_normalized(normalized: &mut String, text: &str) {
    let compared = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '"'));
    normalized.extend(compared.map(|c| c.to_ascii_lowercase()));
}

impl FromStr for MediaRange {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let parts = parse(text).ok_or_else(|| {
            StoreError::invalid(
                "a filter takes a media type such as text/plain or text/plain; charset=utf-8, or a range such as image/* or */*",
            )
        })?;
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl TryFrom<String> for MediaRange {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl From<MediaRange> for String {
    fn from(range: MediaRange) -> Self {
        range.text
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parts of the media range in `text` (RFC 9110 §12.5.1, without a weight); `None` if it is not a media range.
fn parse(text: &str) -> Option<Vec<String>> {
    let mut pieces = split_unquoted(text)?.into_iter();
    let (kind, subtype) = pieces.next()?.split_once('/')?;
    // The text that a normalized media type must contain to match type and subtype. A normalized media type starts with
    // a space, and `;` follows the subtype. So `text/plain` gives ` text/plain;`, `image/*` gives ` image/`, and `*/*`
    // gives a space.
    let mut type_part = String::from(" ");
    match (kind, subtype) {
        ("*", "*") => {}
        (kind, "*") if is_token_without_wildcard(kind) => {
            push_normalized(&mut type_part, kind);
            type_part.push('/');
        }
        (kind, subtype) if is_token_without_wildcard(kind) && is_token_without_wildcard(subtype) => {
            push_normalized(&mut type_part, kind);
            type_part.push('/');
            push_normalized(&mut type_part, subtype);
            type_part.push(';');
        }
        _ => return None,
    }
    let mut parts = vec![type_part];
    // An empty parameter between two semicolons is valid.
    for parameter in pieces.filter(|piece| !piece.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        if !is_token(name) || !(is_token(value) || is_quoted(value)) {
            return None;
        }
        let mut part = String::from(";");
        push_normalized(&mut part, parameter);
        part.push(';');
        parts.push(part);
    }
    Some(parts)
}

/// Splits `text` at semicolons outside quotes and trims the pieces; `None` if a quote is not closed.
fn split_unquoted(text: &str) -> Option<Vec<&str>> {
    let mut pieces = Vec::new();
    let mut piece_start = 0;
    let mut in_quotes = false;
    // Whether the previous character is a backslash that escapes this character.
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            ';' if !in_quotes => {
                pieces.push(text[piece_start..index].trim_matches([' ', '\t']));
                piece_start = index + 1;
            }
            _ => {}
        }
    }
    pieces.push(text[piece_start..].trim_matches([' ', '\t']));
    if in_quotes { None } else { Some(pieces) }
}

/// Whether `text` is a token without a wildcard.
fn is_token_without_wildcard(text: &str) -> bool {
    is_token(text) && !text.contains('*')
}

/// Whether `text` is a token of RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether `text` is exactly one quoted string of RFC 9110 §5.6.4.
fn is_quoted(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return false };
    // Whether the previous character is a backslash that escapes this character. If this is true after the last
    // character, the backslash has nothing to escape.
    let mut escaped = false;
    for c in inside.chars() {
        if c.is_control() && c != '\t' {
            return false;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return false,
            _ => {}
        }
    }
    !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> MediaRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_matches_the_listed_media_types_and_no_other() {
        // The table below refers to these media types by number.
        let media_types = [
            /* 0 */ "text/plain",
            /* 1 */ "TEXT/Plain",
            /* 2 */ "text/plain; charset=utf-8",
            /* 3 */ "text/plain;charset=\"UTF-8\";format=flowed",
            /* 4 */ "text/plain; format=flowed",
            /* 5 */ "text/plain ;",
            /* 6 */ "text/plainer",
            /* 7 */ "text/csv",
            /* 8 */ "image/svg+xml",
            /* 9 */ "x-text/plain",
            /* 10 */ "plain",
            /* 11 */ "a\u{0}b",
            /* 12 */ "",
        ];
        // Each range, and the numbers of the media types that it matches.
        for (text, expected) in [
            ("text/plain", &[0, 1, 2, 3, 4, 5][..]),
            ("tExT/pLaIn", &[0, 1, 2, 3, 4, 5]),
            (" text/plain ;; ", &[0, 1, 2, 3, 4, 5]),
            ("text/plain; charset=utf-8", &[2, 3]),
            ("text/plain; CHARSET=\"Utf-8\"", &[2, 3]),
            ("text/plain; charset=utf", &[]),
            ("text/plain; format=flowed", &[3, 4]),
            ("text/plain; format=flowed; charset=utf-8", &[3]),
            ("text/*", &[0, 1, 2, 3, 4, 5, 6, 7]),
            ("text/*; charset=utf-8", &[2, 3]),
            ("*/*", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
            ("*/*; format=flowed", &[3, 4]),
            ("image/svg+xml", &[8]),
            ("image/svg", &[]),
        ] {
            let found: Vec<usize> =
                (0..media_types.len()).filter(|n| range(text).matches(media_types[*n])).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_semicolon_in_quotes_does_not_end_a_parameter() {
        let quoted = range("a/b; title=\"x; y\\\"z\"");
        assert!(quoted.matches("a/b; title=\"x; y\\\"z\"; q=1") && !quoted.matches("a/b; title=x"));
    }

    #[test]
    fn an_invalid_range_is_refused() {
        for text in [
            "",
            "text",
            "text/",
            "/plain",
            "*/plain",
            "text/pl*",
            "te*/plain",
            "*",
            "a b/c",
            "text/plain; charset",
            "text/plain; charset=",
            "text/plain; charset = utf-8",
            "text/plain; a=\"",
            "text/plain; a=\"b\"c",
            "text/plain, text/csv",
            "text/plain/x",
            "tëxt/plain",
            "a/b; c=\"\u{0}\"",
            "a/b; c=\"\n\"",
            "a\u{0}b/c",
        ] {
            assert!(text.parse::<MediaRange>().is_err(), "{text:?}");
        }
    }
}
