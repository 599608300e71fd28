//! Media types (RFC 9110 §8.3.1): [`MediaType`] validates a text.
//!
//! This is the only place that validates media types. This module must never know a request, a driver or a filter.

/// A validated media type: `type/subtype` with optional parameters. Only its [essence](Self::essence) is kept. A range
/// such as `image/*` is not a media type.
///
/// # Examples
/// ```
/// use artifact_store_core::MediaType;
/// let media_type = MediaType::parse("text/plain; charset=utf-8").unwrap();
/// assert_eq!(media_type.essence(), "text/plain");
/// assert!(MediaType::parse("image/*").is_none());
/// assert!(MediaType::parse("text/plain; charset=\"utf-8").is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType<'a> {
    essence: &'a str,
}

impl<'a> MediaType<'a> {
    /// Parses the whole `text`; `None` if it is not a media type.
    pub fn parse(text: &'a str) -> Option<Self> {
        // The essence contains no quotes, so the first semicolon ends it.
        let essence = text.split(';').next()?.trim_end_matches(is_whitespace);
        let (kind, subtype) = essence.split_once('/')?;
        let is_name = |name: &str| !name.is_empty() && name != "*" && name.bytes().all(is_token_byte);
        let parameters = &text[essence.len()..];
        (is_name(kind) && is_name(subtype) && is_parameter_list(parameters)).then_some(Self { essence })
    }

    /// Type and subtype without the parameters, as they were written. Compare them without regard to ASCII case.
    pub const fn essence(&self) -> &'a str {
        self.essence
    }
}

/// Whether `text` is `*( OWS ";" OWS [ parameter ] )` (RFC 9110 §5.6.6). OWS is optional whitespace.
fn is_parameter_list(mut text: &str) -> bool {
    loop {
        let trimmed = text.trim_start_matches(is_whitespace);
        if trimmed.is_empty() {
            // Whitespace at the end is valid only after a semicolon, and there the code below has skipped it.
            return text.is_empty();
        }
        let Some(after_semicolon) = trimmed.strip_prefix(';') else { return false };
        let parameter = after_semicolon.trim_start_matches(is_whitespace);
        let Some(after_parameter) = skip_parameter(parameter) else { return false };
        text = after_parameter;
    }
}

/// Skips an optional parameter at the start of `text` and returns the rest; `None` if the parameter is malformed.
fn skip_parameter(text: &str) -> Option<&str> {
    let (name, rest) = split_token(text);
    // The parameter is optional: in `text/html;;` nothing is between the semicolons.
    if name.is_empty() {
        return Some(text);
    }
    let value = rest.strip_prefix('=')?;
    if let Some(quoted) = value.strip_prefix('"') {
        return skip_quoted(quoted);
    }
    let (value, rest) = split_token(value);
    (!value.is_empty()).then_some(rest)
}

/// Skips a quoted string whose opening quote was already read, and returns the rest; `None` if it is malformed.
fn skip_quoted(text: &str) -> Option<&str> {
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return text.get(index + 1..),
            // A backslash escapes the next character, which may be a quote.
            '\\' => {
                characters.next().filter(|(_, escaped)| is_quotable(*escaped))?;
            }
            _ if is_quotable(character) => {}
            _ => return None,
        }
    }
    None
}

/// Splits `text` into the token at its start and the rest. The token may be empty.
fn split_token(text: &str) -> (&str, &str) {
    let token_length = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
    text.split_at(token_length)
}

/// Whether `byte` is a `tchar` of RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9'
            | b'A'..=b'Z'
            | b'a'..=b'z'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    )
}

/// Whether `character` may occur within quotes: not a control character, except a tab.
fn is_quotable(character: char) -> bool {
    character == '\t' || !character.is_control()
}

const fn is_whitespace(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_and_subtype_with_parameters_is_a_media_type() {
        for (text, essence) in [
            ("text/plain", "text/plain"),
            ("Text/HTML;Charset=\"utf-8\"", "Text/HTML"),
            ("text/html; charset=\"utf-8\"", "text/html"),
            ("text/html ; charset=utf-8 ; a=b", "text/html"),
            ("text/html\t;\tcharset=utf-8", "text/html"),
            ("text/html;", "text/html"),
            ("text/html; ;;charset=utf-8;", "text/html"),
            ("text/x; a=\"quoted; \\\" and \\\\ / ü\"", "text/x"),
            ("multipart/form-data; boundary=----4711abc", "multipart/form-data"),
            ("application/vnd.api+json", "application/vnd.api+json"),
            ("a/b", "a/b"),
            ("x*/y*z", "x*/y*z"),
        ] {
            assert_eq!(
                MediaType::parse(text).map(|media_type| media_type.essence()),
                Some(essence),
                "{text}"
            );
        }
    }

    #[test]
    fn a_range_is_not_a_media_type() {
        for text in ["*/*", "image/*", "*/plain", "*", "text/*; q=0.5"] {
            assert_eq!(MediaType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_outside_the_rfcs_grammar_is_not_a_media_type() {
        for text in [
            "",
            " ",
            "text",
            "text/",
            "/plain",
            "/",
            "a/b/c",
            " text/plain",
            "text/plain ",
            "text/plain,text/html",
            "text /plain",
            "text/ plain",
            "text/plain; charset",
            "text/plain; charset=",
            "text/plain; charset =utf-8",
            "text/plain; charset= utf-8",
            "text/plain; =utf-8",
            "text/plain; charset=\"utf-8",
            "text/plain; charset=\"utf-8\\\"",
            "text/plain; charset=\"utf-8\"x",
            "text/plain; charset=\"a\nb\"",
            "text/plain; charset=\"a\\\nb\"",
            "text/plain; charset=utf-8 x",
            "text/plain; charset=utf-8 ",
            "text/plain; a=(b)",
            "text/plain\r\nX: y",
            "text/plain\0",
            "text/plain; a=\"\u{85}\"",
            "téxt/plain",
            "text/plaïn",
        ] {
            assert_eq!(MediaType::parse(text), None, "{text:?}");
        }
    }
}
