//! Names, cursors, and headers for browsers.

use artifact_store_laws::{cursor, disposition, keys};
use proptest::prelude::*;

use crate::{odd_text, with_byte_edits};

fn media_type() -> impl Strategy<Value = Option<String>> {
    let known = [
        "text/plain",
        "text/html",
        "IMAGE/png",
        "image/svg+xml",
        "video/mp4; x=\"a\"",
        "audio/",
        "text/plain\r\n",
    ];
    prop::option::of(prop_oneof![prop::sample::select(known.map(str::to_owned).to_vec()), odd_text()])
}

fn file_name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        odd_text(),
        prop::sample::select(vec![
            "\r", "\n", "\"", "\\", "/", "..", "\u{202e}", ";", "=", "%", "'", "ü", ".html"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn names_are_kept_apart_and_fit_any_storage(one in odd_text(), other in odd_text()) {
        keys::any(&[one.as_bytes(), &[artifact_store_laws::FIELD_SEPARATOR][..], other.as_bytes()].concat());
    }

    #[test]
    fn texts_that_nearly_agree_have_tokens_that_differ(text in "[a-z%/.é]{1,40}", near in any::<prop::sample::Index>()) {
        let mut letters: Vec<char> = text.chars().collect();
        let at = near.index(letters.len());
        letters[at] = letters[at].to_ascii_uppercase();
        letters.push('\u{301}');
        keys::check_tokens_differ(&text, &letters.iter().collect::<String>());
        keys::check_tokens_differ(&text, &letters[..letters.len() - 1].iter().collect::<String>());
    }

    #[test]
    fn headers_for_a_browser_are_legal_and_harmless(name in file_name(), kind in media_type(), inline in any::<bool>()) {
        disposition::check_headers(&name, kind.as_deref(), inline);
    }

    #[test]
    fn an_altered_cursor_is_never_accepted(edits in prop::collection::vec(any::<u8>(), 2..12)) {
        cursor::any(&[&b"e\xff"[..], &edits].concat());
    }

    #[test]
    fn a_text_that_is_not_a_cursor_is_refused(text in with_byte_edits("[A-Za-z0-9_-]{0,120}".boxed())) {
        cursor::check_text_as_cursor(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn a_walk_in_pages_is_the_listing(
        made in prop::collection::vec((prop_oneof![0..3_i64, any::<i64>()], any::<u8>()), 0..12),
        limit in 1..5_u32,
    ) {
        cursor::check_walk(&made, limit);
    }
}
