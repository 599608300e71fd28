//! The little XML that the servers of this crate write and read.

use std::fmt::Write;

/// The first line of every document.
pub(crate) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Writes `<name>text</name>`, with the text escaped.
pub(crate) fn element(out: &mut String, name: &str, text: &str) {
    write!(out, "<{name}>{}</{name}>", escape(text)).unwrap_or_default();
}

/// Escapes a text.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#13;"),
            '\n' => escaped.push_str("&#10;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The elements directly in `document`'s root or deeper that are not nested in each other, as name and raw content, for
/// those whose name is in `names`. Clients write no attributes in the documents that are read here.
pub(crate) fn elements<'a>(document: &'a str, names: &[&str]) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    let mut rest = document;
    while let Some((_, after)) = rest.split_once('<') {
        rest = after;
        let Some((name, inside)) = after.split_once('>') else { break };
        if !names.contains(&name) {
            continue;
        }
        let Some((content, after)) = inside.split_once(&format!("</{name}>")) else { break };
        found.push((name, content));
        rest = after;
    }
    found
}

/// The text of the first element `name`, unescaped.
pub(crate) fn text(document: &str, name: &str) -> Option<String> {
    elements(document, &[name]).first().map(|(_, content)| unescape(content))
}

/// Replaces the five named entities. Clients write no others in the documents that are read here.
pub(crate) fn unescape(text: &str) -> String {
    text.trim()
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_their_order() {
        let document = "<?xml version=\"1.0\"?><List><A>1</A><C>x</C><B>2&amp;</B><A>3</A></List>";
        assert_eq!(elements(document, &["A", "B"]), [("A", "1"), ("B", "2&amp;"), ("A", "3")]);
        assert_eq!(text(document, "B").as_deref(), Some("2&"));
        assert_eq!(text(document, "D"), None);
    }

    #[test]
    fn an_escaped_text_is_read_back() {
        let mut written = String::new();
        element(&mut written, "Key", "a<b>&\"c\"");
        assert_eq!(text(&written, "Key").as_deref(), Some("a<b>&\"c\""));
    }
}
