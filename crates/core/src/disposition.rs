//! How a browser may treat an artifact: [`content_type`] and [`content_disposition`] (RFC 6266, RFC 8187).
//!
//! Names and types come from whoever put the artifact, so nothing in them may end a header, hide an ending, name a folder, or
//! make a browser run it. Whoever serves bytes, or signs URLs by which a storage serves them, takes both values from here.
//! This module must never know a request.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::media_type::MediaType;

/// What is not escaped in `filename*`: RFC 8187's `attr-char`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The most characters of a file name; what is longer loses its middle, so that the ending stays.
const MAX_NAME_CHARS: usize = 200;
/// How many characters of a long name's end are kept.
const KEPT_ENDING: usize = 32;

/// Media types that cannot script, whatever they hold. HTML, XML (SVG too), PDF and JSON are not among them.
const INLINE: &[&str] = &["text/plain", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"];

/// The value of `Content-Type` for a download: the record's media type where it is one, else `application/octet-stream`.
/// Visible ASCII and spaces, whatever was put.
///
/// # Examples
/// ```
/// use artifact_store_core::content_type;
/// assert_eq!(content_type(Some("text/csv")), "text/csv");
/// assert_eq!(content_type(Some("text/csv\r\nx: y")), "application/octet-stream");
/// ```
pub fn content_type(media_type: Option<&str>) -> &str {
    media_type.filter(|text| sendable(text).is_some()).unwrap_or("application/octet-stream")
}

/// The value of `Content-Disposition` for a download. `inline` is granted only to types that cannot script; the name stands
/// twice, plain and in full. Visible ASCII and spaces, whatever was put.
///
/// # Examples
/// ```
/// use artifact_store_core::content_disposition;
/// assert_eq!(
///     content_disposition(Some("Übersicht.html"), Some("text/html"), true),
///     "attachment; filename=\"_bersicht.html\"; filename*=UTF-8''%C3%9Cbersicht.html",
/// );
/// ```
pub fn content_disposition(filename: Option<&str>, media_type: Option<&str>, inline: bool) -> String {
    let kind = if inline && media_type.is_some_and(cannot_script) { "inline" } else { "attachment" };
    let Some(name) = filename.map(harmless).filter(|name| !name.is_empty()) else {
        return kind.to_owned();
    };
    let plain: String = name
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let full = utf8_percent_encode(&name, ESCAPED);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

fn cannot_script(media_type: &str) -> bool {
    let Some(media_type) = sendable(media_type) else { return false };
    let essence = media_type.essence().to_ascii_lowercase();
    INLINE.contains(&essence.as_str()) || essence.starts_with("audio/") || essence.starts_with("video/")
}

/// The media type that `text` is, where it can be sent as it is: in visible ASCII and spaces.
fn sendable(text: &str) -> Option<MediaType<'_>> {
    MediaType::parse(text).filter(|_| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
}

/// A file name without path, control, direction and invisible characters, of bounded length.
fn harmless(name: &str) -> String {
    let plain: Vec<char> = name.trim().chars().map(|c| if is_harmful(c) { '_' } else { c }).collect();
    let name: String = if plain.len() <= MAX_NAME_CHARS {
        plain.into_iter().collect()
    } else {
        let (head, tail) = (MAX_NAME_CHARS - KEPT_ENDING - 1, plain.len() - KEPT_ENDING);
        plain[..head].iter().chain(&['_']).chain(&plain[tail..]).collect()
    };
    // Names of dots alone are folders.
    if name.chars().all(|c| c == '.') { "_".repeat(name.chars().count()) } else { name }
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '/' | '\\'
                | '"'
                | '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filename: &str) -> String {
        content_disposition(Some(filename), None, false)
    }

    #[test]
    fn a_name_is_given_plain_and_in_full() {
        assert_eq!(
            of("report 1.csv"),
            "attachment; filename=\"report 1.csv\"; filename*=UTF-8''report%201.csv"
        );
        assert_eq!(
            of("Übersicht €.csv"),
            "attachment; filename=\"_bersicht _.csv\"; filename*=UTF-8''%C3%9Cbersicht%20%E2%82%AC.csv"
        );
    }

    #[test]
    fn no_name_can_end_the_header_or_its_quotes() {
        assert_eq!(
            of("a\r\nSet-Cookie: x=1\0\".html"),
            "attachment; filename=\"a__Set-Cookie: x=1__.html\"; filename*=UTF-8''a__Set-Cookie%3A%20x%3D1__.html"
        );
        assert_eq!(of("a\\\"b"), "attachment; filename=\"a__b\"; filename*=UTF-8''a__b");
        assert!(of("100%41.txt").contains("filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"));
    }

    #[test]
    fn no_name_is_a_path_or_hides_its_ending() {
        assert!(of("../../etc/passwd").contains("filename=\".._.._etc_passwd\""));
        assert!(of("..").contains("filename=\"__\""));
        assert!(of("invoice\u{202e}fdp.exe").contains("UTF-8''invoice_fdp.exe"));
        assert!(of("a\u{200b}.txt").contains("UTF-8''a_.txt"));
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let long = of(&format!("{}.tar.gz", "é".repeat(4000)));
        assert!(long.ends_with(".tar.gz") && long.len() < 2048, "{long}");
    }

    #[test]
    fn without_a_name_there_is_only_the_kind() {
        assert_eq!(content_disposition(None, None, false), "attachment");
        assert_eq!(content_disposition(Some("  "), None, false), "attachment");
    }

    #[test]
    fn only_types_that_cannot_script_are_inline() {
        let inline = |media_type| content_disposition(None, Some(media_type), true) == "inline";
        for media_type in ["text/plain", "Text/Plain; charset=utf-8", "image/png", "audio/ogg", "video/mp4"] {
            assert!(inline(media_type), "{media_type}");
            assert_eq!(content_disposition(None, Some(media_type), false), "attachment");
        }
        for media_type in [
            "text/html",
            "image/svg+xml",
            "application/pdf",
            "application/json",
            "application/xhtml+xml",
            "text/xml",
            "text/plain\u{0}",
            "text/plain,text/html",
            "",
        ] {
            assert!(!inline(media_type), "{media_type}");
        }
    }

    #[test]
    fn what_is_no_media_type_is_sent_as_bytes() {
        assert_eq!(content_type(Some("text/csv; header=present")), "text/csv; header=present");
        for media_type in [
            None,
            Some("csv"),
            Some("a/b/c"),
            Some("text/csv\r\nx: y"),
            Some("text/csv\n"),
            Some("text/csv\u{a0}; header=present"),
            Some("text/csv\t; header=present"),
            Some("téxt/csv"),
            Some("/"),
            Some("*/*"),
            Some("image/*"),
            Some("text/csv; header=\"present"),
            Some("text/csv; title=\"ü\""),
        ] {
            assert_eq!(content_type(media_type), "application/octet-stream", "{media_type:?}");
        }
    }
}
