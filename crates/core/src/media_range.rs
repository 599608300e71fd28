//! Which media types a filter asks for: [`MediaRange`], the one rule that every driver's listing follows.
//!
//! The rule is made of steps that SQL can take, too, because stores with an index filter in their own queries: a stored media
//! type is brought into its comparable form, and a range matches where that form contains each of the range's parts. A stored
//! media type may be any text. This module must never know how a driver stores it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A media type that a filter asks for, or a range of them.
///
/// | range | matches |
/// |---|---|
/// | `text/plain` | this type with any parameters, or none |
/// | `text/plain; charset=utf-8` | this type with this parameter; others may be there, in any order |
/// | `image/*` | any subtype of this type |
/// | `*/*` | any media type that was given |
///
/// What was put without a media type is matched by no range. ASCII letters compare without case, in type, subtype, and the
/// names and values of parameters. White space and quotation marks do not count. A quoted value of a stored media type that
/// holds a semicolon is taken for several parameters.
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
    text: String,
    parts: Vec<String>,
}

impl MediaRange {
    /// The range as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the range covers this media type.
    pub fn matches(&self, media_type: &str) -> bool {
        self.covers(&Self::comparable(media_type))
    }

    /// For drivers: the texts that a media type's comparable form contains, all of them, where the range covers it. The first
    /// one begins with a space, which stands nowhere but at the start of a comparable form. None holds a zero character.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// For drivers: a media type's comparable form, which is a space, then the text in ASCII lower case without its spaces, tabs
    /// and double quotes, and a semicolon.
    pub fn comparable(media_type: &str) -> String {
        let mut form = String::with_capacity(media_type.len() + 2);
        form.push(' ');
        push_counting(&mut form, media_type);
        form.push(';');
        form
    }

    /// Whether one of `ranges` covers this media type.
    pub(crate) fn any_matches(ranges: &[Self], media_type: &str) -> bool {
        let form = Self::comparable(media_type);
        ranges.iter().any(|range| range.covers(&form))
    }

    fn covers(&self, form: &str) -> bool {
        self.parts.iter().all(|part| form.contains(part.as_str()))
    }
}

/// Adds what counts of `text` in a comparison.
fn push_counting(form: &mut String, text: &str) {
    let counting = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '"'));
    form.extend(counting.map(|c| c.to_ascii_lowercase()));
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

/// The parts of the media range in `text` (RFC 9110 §12.5.1, without a weight); `None` where it is none.
fn parse(text: &str) -> Option<Vec<String>> {
    let mut pieces = split_unquoted(text)?.into_iter();
    let (kind, subtype) = pieces.next()?.split_once('/')?;
    let mut first = String::from(" ");
    match (kind, subtype) {
        ("*", "*") => {}
        (kind, "*") if is_name(kind) => {
            push_counting(&mut first, kind);
            first.push('/');
        }
        (kind, subtype) if is_name(kind) && is_name(subtype) => {
            push_counting(&mut first, kind);
            first.push('/');
            push_counting(&mut first, subtype);
            first.push(';');
        }
        _ => return None,
    }
    let mut parts = vec![first];
    // Nothing between two semicolons is no parameter, and legal.
    for parameter in pieces.filter(|piece| !piece.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        if !is_token(name) || !(is_token(value) || is_quoted(value)) {
            return None;
        }
        let mut part = String::from(";");
        push_counting(&mut part, parameter);
        part.push(';');
        parts.push(part);
    }
    Some(parts)
}

/// The pieces of `text` between the semicolons that no quotes are around, without the white space around them.
fn split_unquoted(text: &str) -> Option<Vec<&str>> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    (!quoted).then(|| pieces.into_iter().map(|piece| piece.trim_matches([' ', '\t'])).collect())
}

/// A token that stands for itself and for no range.
fn is_name(text: &str) -> bool {
    is_token(text) && !text.contains('*')
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// One quoted string of RFC 9110 §5.6.4 and nothing else.
fn is_quoted(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
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
    fn a_range_covers_what_the_table_says_and_nothing_else() {
        let all = [
            "text/plain",
            "TEXT/Plain",
            "text/plain; charset=utf-8",
            "text/plain;charset=\"UTF-8\";format=flowed",
            "text/plain; format=flowed",
            "text/plain ;",
            "text/plainer",
            "text/csv",
            "image/svg+xml",
            "x-text/plain",
            "plain",
            "a\u{0}b",
            "",
        ];
        for (text, covered) in [
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
            let found: Vec<usize> = (0..all.len()).filter(|n| range(text).matches(all[*n])).collect();
            assert_eq!(found, covered, "{text}");
        }
    }

    #[test]
    fn a_semicolon_in_quotes_ends_no_parameter_of_a_range() {
        let quoted = range("a/b; title=\"x; y\\\"z\"");
        assert!(quoted.matches("a/b; title=\"x; y\\\"z\"; q=1") && !quoted.matches("a/b; title=x"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
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
