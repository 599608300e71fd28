//! Laws that hold for any input, however hostile. Each is a function that panics if the law is broken.
//!
//! Every law is defined here once and checked twice: by the property tests of this package in every test run, with
//! inputs that are almost valid, and by the fuzz targets of `fuzz/`, with the fuzzer's inputs, for as long as wanted.
//! A law compares with a simpler implementation, or with the same result obtained in another way. "It does not panic"
//! alone is not a law.
//!
//! Each module has a function `any`, which passes arbitrary bytes to its law. [`TARGETS`] lists them. The input is
//! split into fields at the byte [`FIELD_SEPARATOR`], which never occurs in UTF-8, so that people can read and write
//! seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)] // A broken law panics.

pub mod configuration;
pub mod cursor;
pub mod disposition;
pub mod headers;
pub mod json;
pub mod keys;
pub mod put;
pub mod requests;
pub mod store_url;
pub mod tokens;

use artifact_store_protocol::{Code, Envelope};

/// The name of a law and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every law that takes arbitrary bytes, by the name of its fuzz target and of its seed folder.
pub const TARGETS: &[Target] = &[
    ("configuration", configuration::any),
    ("cursor", cursor::any),
    ("disposition", disposition::any),
    ("headers", headers::any),
    ("keys", keys::any),
    ("put", put::any),
    ("requests", requests::any),
    ("store_url", store_url::any),
    ("tokens", tokens::any),
];

/// Separates the fields of an input. It never occurs in UTF-8.
pub const FIELD_SEPARATOR: u8 = 0xff;

/// Returns the field before the next separator, and the rest. Without a separator the field is empty.
pub(crate) fn split_field(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == FIELD_SEPARATOR) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[], data),
    }
}

/// Splits an input into `N` fields. Missing ones are empty.
pub(crate) fn split_fields<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut all = data.splitn(N, |byte| *byte == FIELD_SEPARATOR);
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

/// Bytes as text, with invalid UTF-8 replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a future to completion.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Checks that a refusal has one of these codes and a short message of one line.
pub(crate) fn assert_refusal(refused: &Envelope, codes: &[Code]) {
    assert!(codes.contains(&refused.code), "refused with {:?}: {}", refused.code, refused.message);
    assert_one_line(&refused.message, 1000);
}

/// Checks that a text is one line that is not empty and has at most `most` characters.
pub(crate) fn assert_one_line(text: &str, most: usize) {
    assert!(!text.is_empty(), "the message is empty");
    assert!(text.chars().count() <= most, "the message has more than {most} characters: {text}");
    assert!(!text.chars().any(char::is_control), "the message has a control character: {text:?}");
}

/// Applies edits to an ASCII text: pairs of a position and an operation.
pub(crate) fn with_edits(text: &str, edits: &[u8]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for edit in edits.chunks_exact(2).take(8) {
        let at = usize::from(edit[0]) * 3 % (letters.len() + 1);
        match edit[1] {
            0 => letters.truncate(at),
            1 if at < letters.len() => drop(letters.remove(at)),
            letter if letter < 0x80 => letters.insert(at, char::from(letter)),
            letter if at < letters.len() => letters[at] = char::from(letter & 0x7f),
            _ => {}
        }
    }
    letters.into_iter().collect()
}

/// Checks that a message does not repeat the input. Only inputs that cannot occur in a message by chance are checked.
pub(crate) fn assert_not_repeated(said: &str, given: &str) {
    let is_distinctive =
        given.len() >= 12 && !given.contains(' ') && given.bytes().any(|b| b.is_ascii_digit());
    assert!(!is_distinctive || !said.contains(given), "the input is repeated: {said}");
}
