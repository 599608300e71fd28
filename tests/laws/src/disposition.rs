//! Headers for a browser about an artifact: a safe name, sent twice consistently, and a legal media type.

use std::fmt::Write as _;

use artifact_store_core::{content_disposition, content_type};
use percent_encoding::percent_decode_str;

use crate::{split_fields, text};

/// The largest number of characters of a file name.
const MAX_NAME_CHARS: usize = 200;

/// Fields: `i` if `inline` is requested; the media type, absent if empty; the name.
pub fn any(data: &[u8]) {
    let [inline, media_type, name] = split_fields(data);
    let media_type = text(media_type);
    check_headers(&text(name), Some(media_type.as_str()).filter(|text| !text.is_empty()), inline == b"i");
}

/// Whatever was put as name and type, the headers are legal and harmless.
pub fn check_headers(filename: &str, media_type: Option<&str>, inline: bool) {
    let said = content_type(media_type);
    assert!(said.bytes().all(|b| matches!(b, b' '..=b'~')), "{said:?}");
    assert!(Some(said) == media_type || said == "application/octet-stream", "{said:?}");

    let header = content_disposition(Some(filename), media_type, inline);
    assert!(header.bytes().all(|b| matches!(b, b' '..=b'~')), "{header:?}");
    assert!(header.len() < 4096, "{} bytes", header.len());
    let (kind, names) = header.split_once("; ").map_or((&*header, None), |(kind, names)| (kind, Some(names)));
    match kind {
        "attachment" => {}
        "inline" => assert!(inline && media_type.is_some_and(is_inert), "{media_type:?} is shown inline"),
        _ => panic!("{header}"),
    }
    let Some(names) = names else {
        assert_eq!(filename.trim(), "", "the name is lost");
        return;
    };
    let (plain, full) = parse_names(names);
    // No character that ends a quoted string, escapes in one, is decoded by some clients, or is a path separator.
    assert!(!plain.contains(['"', '\\', '%', '/']), "{plain:?}");
    assert!((1..=MAX_NAME_CHARS).contains(&full.chars().count()), "{full:?}");
    assert!(!full.chars().any(is_harmful), "{full:?}");
    assert!(full.chars().any(|c| c != '.'), "a folder: {full:?}");
    assert_eq!(plain.chars().count(), full.chars().count(), "{plain:?} and {full:?}");
    for (plain, full) in plain.chars().zip(full.chars()) {
        assert!(
            plain == full || (plain == '_' && (!full.is_ascii() || full == '%')),
            "{plain:?} for {full:?}"
        );
    }
    let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if filename.len() <= MAX_NAME_CHARS && filename.chars().all(simple) {
        assert_eq!(full, filename, "a simple name is changed");
    }
    if let Some((_, ending)) = filename.rsplit_once(".htm").filter(|(_, ending)| ending.chars().all(simple)) {
        assert!(
            ending.len() > 28 || full.ends_with(&format!(".htm{ending}")),
            "the extension is lost: {full:?}"
        );
    }
    assert_eq!(content_disposition(Some(&full), media_type, inline), header, "a safe name is changed");
}

/// Parses the two names by the grammar of RFC 6266 and RFC 8187, as strictly as possible.
fn parse_names(names: &str) -> (String, String) {
    let rest = names.strip_prefix("filename=\"").expect("a quoted name comes first");
    let (plain, rest) = rest.split_once('"').expect("the quotes end");
    let full = rest.strip_prefix("; filename*=UTF-8''").expect("the full name comes second");
    let name = percent_decode_str(full).decode_utf8().expect("the full name is UTF-8").into_owned();
    // As the grammar requires: every other character than an attr-char is escaped, in upper case.
    let mut written = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            written.push(char::from(byte));
        } else {
            write!(written, "%{byte:02X}").unwrap();
        }
    }
    assert_eq!(written, full);
    (plain.to_owned(), name)
}

/// Whether the type can never run a script: a closed list.
fn is_inert(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = essence.split('/').next().unwrap_or_default();
    matches!(kind, "audio" | "video")
        || ["text/plain", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]
            .contains(&essence.as_str())
}

/// Control, direction, line and invisible characters, and those that end a name or are path separators.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | '"' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{61c}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
