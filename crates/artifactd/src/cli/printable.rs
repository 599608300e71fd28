//! Makes text of any origin safe for a terminal. This module must never know where the text is printed.

use std::borrow::Cow;

/// Escapes every character that controls a terminal, changes the direction of text or starts a line.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return text.into();
    }
    // An escape is longer than its character, so a few more bytes are reserved.
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unprintable(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Whether `c` is a control character, changes the direction of text or starts a line.
pub(super) fn is_unprintable(c: char) -> bool {
    // The listed characters are the marks of text direction, the line separator and the paragraph separator.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn characters_that_control_a_terminal_are_escaped() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}c\nd\u{202e}e\u{61c}"),
            "a\\u{1b}[2Jb\\u{9b}c\\nd\\u{202e}e\\u{61c}"
        );
    }

    #[test]
    fn other_text_stays_as_it_is() {
        assert_eq!(printable("Übersicht 日本 \\ 🦀.csv"), "Übersicht 日本 \\ 🦀.csv");
    }
}
