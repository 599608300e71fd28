//! What holds for any input, however hostile: laws, each a function that panics where it is broken.
//!
//! Every law stands here once and is asked twice: by the property tests of this package, with inputs that are made to be nearly
//! right, in every run of the tests; and by the fuzz targets of `fuzz/`, with whatever a fuzzer makes up, for as long as one
//! likes. A law compares with something simpler than what it judges, or with the same thing done another way; "it does not
//! panic" alone is none.
//!
//! Each module has a function `any`, from arbitrary bytes to its law: [`TARGETS`] lists them. Its fields are cut at the byte
//! [`CUT`], which no UTF-8 has, so that seeds can be read and written by people.
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

/// A law's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every law that arbitrary bytes can be held to, by the name of its fuzz target and of the folder of its seeds.
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

/// Cuts an input into its fields. No UTF-8 has it.
pub const CUT: u8 = 0xff;

/// The field before the next cut, and what is behind it; without a cut the field is empty.
pub(crate) fn field(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == CUT) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[], data),
    }
}

/// As many fields as are asked for; missing ones are empty.
pub(crate) fn fields<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut all = data.splitn(N, |byte| *byte == CUT);
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

/// Bytes as a text, what is no UTF-8 replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A refusal says one short line, with one of these codes.
pub(crate) fn is_fit(refused: &Envelope, codes: &[Code]) {
    assert!(codes.contains(&refused.code), "refused with {:?}: {}", refused.code, refused.message);
    is_line(&refused.message, 1000);
}

/// A text for people is one line of bounded length, and there is one.
pub(crate) fn is_line(text: &str, most: usize) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(text.chars().count() <= most, "more than {most} characters are said: {text}");
    assert!(!text.chars().any(char::is_control), "a control character is said: {text:?}");
}

/// An ASCII text with edits: pairs of a place and of what is done there.
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

/// What came from outside is not repeated in what is said of it. Only texts that no sentence of ours can hold are looked for.
pub(crate) fn is_not_repeated(said: &str, given: &str) {
    let telling = given.len() >= 12 && !given.contains(' ') && given.bytes().any(|b| b.is_ascii_digit());
    assert!(!telling || !said.contains(given), "what was given is repeated: {said}");
}
