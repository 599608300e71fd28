//! Query parameters: known names only, each once but the repeatable ones, percent-encoding and UTF-8 checked.

use percent_encoding::percent_decode_str;

use super::answer::Refused;
use super::field::Field;

/// The most characters of a parameter's name that a message repeats.
const MAX_NAME_CHARS: usize = 64;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `raw`, which may hold what is declared and nothing else.
    ///
    /// # Errors
    /// `invalid_request` that names the parameter.
    pub(super) fn read(raw: Option<&str>, declared: &[Field]) -> Result<Self, Refused> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| {
                Refused::invalid("the name of a query parameter is not percent-encoded UTF-8")
            })?;
            let Some(field) = declared.iter().find(|field| field.name == name) else {
                return Err(undeclared(&name, declared));
            };
            if !field.many && pairs.iter().any(|(known, _)| *known == name) {
                return Err(Refused::invalid(format!("the query parameter `{name}` is given twice")));
            }
            let value = decode(value).ok_or_else(|| {
                Refused::invalid(format!("the query parameter `{name}` is not percent-encoded UTF-8"))
            })?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Takes out a parameter that stands once.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes out all parameters of a name, in order.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect()
    }
}

/// The token in the query of an event stream; whether the query is otherwise legal is asked later.
pub(super) fn access_token(raw: &str) -> Option<String> {
    let value = raw.split('&').find_map(|pair| pair.strip_prefix("access_token="))?;
    decode(value).filter(|token| !token.is_empty())
}

fn undeclared(name: &str, declared: &[Field]) -> Refused {
    let mut short: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    if name.chars().count() > MAX_NAME_CHARS {
        short.push('…');
    }
    let declared: Vec<String> = declared.iter().map(|field| format!("`{}`", field.name)).collect();
    let declared = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
    Refused::invalid(format!("the query parameter `{short}` is not declared; declared are {declared}"))
}

/// Decodes percent-encoding, and `+` as the space that forms write so. `None` where it is malformed or no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::super::field::Takes;
    use super::*;

    fn read(raw: &str) -> Result<Query, String> {
        let declared = [
            Field::once("filename", Takes::Text, ""),
            Field::once("task", Takes::Text, ""),
            Field::many("tag", Takes::Text, ""),
        ];
        Query::read(Some(raw), &declared).map_err(|refused| format!("{refused:?}"))
    }

    #[test]
    fn parameters_are_decoded_and_repeatable_ones_keep_their_order() {
        let mut query = read("tag=b&filename=a+b%2B%C3%A9&tag=a&&").unwrap();
        assert_eq!(query.take("filename").as_deref(), Some("a b+é"));
        assert_eq!(query.take_all("tag"), ["b", "a"]);
        assert_eq!(query.take("task"), None);
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        assert!(read("colour=red").unwrap_err().contains("`colour`"));
    }

    #[test]
    fn an_unknown_name_is_repeated_shortened_and_without_control_characters() {
        let refused = read(&format!("%0d%0a{}=1", "x".repeat(1000))).unwrap_err();
        assert!(refused.contains(&format!("`{}…`", "x".repeat(62))) || refused.contains('…'));
        assert!(!refused.contains("\\r") && refused.len() < 600);
    }

    #[test]
    fn a_parameter_that_stands_twice_is_refused() {
        assert!(read("task=a&task=a").unwrap_err().contains("twice"));
    }

    #[test]
    fn broken_percent_encoding_is_refused() {
        for raw in ["task=%", "task=%f", "task=%zz", "task=%ff", "%ff=1", "task=%é"] {
            read(raw).unwrap_err();
        }
    }

    #[test]
    fn the_token_is_found_among_other_parameters() {
        assert_eq!(access_token("admin=1&access_token=a.b%2Ec").as_deref(), Some("a.b.c"));
        assert_eq!(access_token("access_token="), None);
        assert_eq!(access_token("xaccess_token=1"), None);
    }
}
