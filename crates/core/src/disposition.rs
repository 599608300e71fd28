//! Safe response headers for downloads: [`content_type`] and [`content_disposition`] (RFC 6266, RFC 8187).
//!
//! The client that put the artifact has chosen the file name and the media type. They must not end a header, hide a
//! file extension, name a directory or make a browser run a script. The server and the drivers that presign URLs take
//! both header values from here. This module must never know a request.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::media_type::MediaType;

/// The characters that are escaped in `filename*`: all except RFC 8187's `attr-char`.
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

/// The longest file name, in characters. The middle of a longer name is replaced, so that the extension stays.
const MAX_NAME_CHARS: usize = 200;
/// How many characters at the end of a long name are kept.
const KEPT_SUFFIX_CHARS: usize = 32;

/// Media types that a browser may show inline, because they cannot run scripts, whatever their content is. All audio
/// and video types may be shown inline, too. HTML, XML (also SVG), PDF and JSON are always attachments.
const INLINE_TYPES: &[&str] =
    &["text/plain", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"];

/// The value of `Content-Type` for a download: the record's media type if it is valid, otherwise
/// `application/octet-stream`. The value always consists of visible ASCII characters and spaces.
///
/// # Examples
/// ```
/// use artifact_store_core::content_type;
/// assert_eq!(content_type(Some("text/csv")), "text/csv");
/// assert_eq!(content_type(Some("text/csv\r\nx: y")), "application/octet-stream");
/// ```
pub fn content_type(media_type: Option<&str>) -> &str {
    media_type.filter(|text| parse_sendable(text).is_some()).unwrap_or("application/octet-stream")
}

/// The value of `Content-Disposition` for a download. The value begins with `inline` if `inline` is true and the media
/// type cannot run scripts; otherwise with `attachment`. The file name is given twice: in ASCII and in full. Without a
/// file name, the value has no `filename`. The value always consists of visible ASCII characters and spaces.
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
    let kind = if inline && media_type.is_some_and(is_inline_safe) { "inline" } else { "attachment" };
    let Some(name) = filename.map(sanitize_filename).filter(|name| !name.is_empty()) else {
        return kind.to_owned();
    };
    // Replaces characters outside ASCII, and also `"`, `\` and `%`. A `"` ends a quoted string, and a `\` escapes the
    // next character. Some clients decode `%41` to `A` (RFC 6266, appendix D).
    let ascii: String = name
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let full = utf8_percent_encode(&name, ESCAPED);
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

/// Whether a browser may show this media type inline.
fn is_inline_safe(media_type: &str) -> bool {
    let Some(media_type) = parse_sendable(media_type) else { return false };
    let essence = media_type.essence().to_ascii_lowercase();
    INLINE_TYPES.contains(&essence.as_str()) || essence.starts_with("audio/") || essence.starts_with("video/")
}

/// Parses a media type that can be sent unchanged: visible ASCII characters and spaces only.
fn parse_sendable(text: &str) -> Option<MediaType<'_>> {
    MediaType::parse(text).filter(|_| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
}

/// Trims `name`, replaces each unsafe character by `_`, and limits the length. In a name of only dots, replaces every
/// dot by `_`.
fn sanitize_filename(name: &str) -> String {
    let safe: Vec<char> = name.trim().chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    let short: String = if safe.len() <= MAX_NAME_CHARS {
        safe.into_iter().collect()
    } else {
        // A `_` replaces the middle, so the prefix is one character shorter.
        let prefix = &safe[..MAX_NAME_CHARS - KEPT_SUFFIX_CHARS - 1];
        let suffix = &safe[safe.len() - KEPT_SUFFIX_CHARS..];
        prefix.iter().chain(&['_']).chain(suffix).collect()
    };
    // `.` and `..` name directories.
    if short.chars().all(|c| c == '.') { "_".repeat(short.chars().count()) } else { short }
}

/// Whether `c` is a control character, a path separator, a quote, or an invisible or bidirectional character of
/// Unicode.
fn is_unsafe(c: char) -> bool {
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

    fn disposition_of(filename: &str) -> String {
        content_disposition(Some(filename), None, false)
    }

    #[test]
    fn a_name_is_given_in_ascii_and_in_full() {
        assert_eq!(
            disposition_of("report 1.csv"),
            "attachment; filename=\"report 1.csv\"; filename*=UTF-8''report%201.csv"
        );
        assert_eq!(
            disposition_of("Übersicht €.csv"),
            "attachment; filename=\"_bersicht _.csv\"; filename*=UTF-8''%C3%9Cbersicht%20%E2%82%AC.csv"
        );
    }

    #[test]
    fn no_name_can_end_the_header_or_its_quotes() {
        assert_eq!(
            disposition_of("a\r\nSet-Cookie: x=1\0\".html"),
            "attachment; filename=\"a__Set-Cookie: x=1__.html\"; filename*=UTF-8''a__Set-Cookie%3A%20x%3D1__.html"
        );
        assert_eq!(disposition_of("a\\\"b"), "attachment; filename=\"a__b\"; filename*=UTF-8''a__b");
        assert!(
            disposition_of("100%41.txt").contains("filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt")
        );
    }

    #[test]
    fn no_name_is_a_path_or_hides_its_extension() {
        // U+202E shows the text after it from right to left, so the third name would look like `invoiceexe.pdf`.
        assert!(disposition_of("../../etc/passwd").contains("filename=\".._.._etc_passwd\""));
        assert!(disposition_of("..").contains("filename=\"__\""));
        assert!(disposition_of("invoice\u{202e}fdp.exe").contains("UTF-8''invoice_fdp.exe"));
        assert!(disposition_of("a\u{200b}.txt").contains("UTF-8''a_.txt"));
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let long = disposition_of(&format!("{}.tar.gz", "é".repeat(4000)));
        assert!(long.ends_with(".tar.gz") && long.len() < 2048, "{long}");
    }

    #[test]
    fn without_a_name_the_header_has_no_filename() {
        assert_eq!(content_disposition(None, None, false), "attachment");
        assert_eq!(content_disposition(Some("  "), None, false), "attachment");
    }

    #[test]
    fn only_types_that_cannot_run_scripts_are_inline() {
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
    fn an_invalid_media_type_is_sent_as_octet_stream() {
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
