//! The laws, checked with almost valid inputs and with the seeds of the fuzz targets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests.

mod configuration;
mod headers_and_tokens;
mod json;
mod names;
mod seeds;

use proptest::prelude::*;

/// Texts of all kinds that cause errors somewhere.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z0-9._-]{0,20}",
        2 => "\\PC{0,40}",
        1 => any::<String>(),
        1 => "[ -~]{190,260}",
        1 => prop::sample::select(vec![
            "..", ".", "/", "../../etc/passwd", "%2f", "%00", "a\r\nSet-Cookie: x=1", "\u{0}", "\"", "\\", "e\u{301}",
            "\u{e9}", "invoice\u{202e}fdp.exe", "\u{feff}x", "\u{200b}", "CON", "a.", " a ", "💥", "\u{10ffff}", "*",
            "null", "true", "-0", "1e999", "18446744073709551616", "@", "#", "?", "&", "=", "+", ";", ",", "\u{2028}",
        ])
        .prop_map(str::to_owned),
    ]
}

/// A text with a few of its bytes changed, removed or doubled.
fn with_byte_edits(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 0..4);
    (text, edits).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (at, what, byte) in edits {
            let at = at.index(bytes.len() + 1);
            match what {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes.insert(at, bytes[at]),
                _ => {}
            }
        }
        bytes
    })
}
