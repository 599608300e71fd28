//! Query parameters. Only declared names are accepted. A parameter that is not repeatable may be sent only once.
//! Percent-encoding and UTF-8 are checked.

use percent_encoding::percent_decode_str;

use super::response::ErrorResponse;
use crate::routes::RequestField;

/// Maximum length of an unknown parameter's name in an error message, in characters. A longer name is shortened.
const MAX_NAME_CHARS: usize = 64;

/// The parameters of a request: names and decoded values, in the order of the query.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the query string `raw`, which may contain declared parameters only.
    ///
    /// # Errors
    /// `invalid_request` that names the parameter.
    pub(super) fn parse(raw: Option<&str>, declared: &[RequestField]) -> Result<Self, ErrorResponse> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| {
                ErrorResponse::invalid("the name of a query parameter is not percent-encoded UTF-8")
            })?;
            let Some(field) = declared.iter().find(|field| field.name == name) else {
                return Err(undeclared_parameter(&name, declared));
            };
            if !field.is_repeatable && pairs.iter().any(|(known, _)| *known == name) {
                return Err(ErrorResponse::invalid(format!("the query parameter `{name}` is given twice")));
            }
            let value = decode(value).ok_or_else(|| {
                ErrorResponse::invalid(format!("the query parameter `{name}` is not percent-encoded UTF-8"))
            })?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Removes and returns the first parameter of this name. `None`: there is no such parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }

    /// Removes and returns all parameters of this name, in order.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect()
    }
}

/// Refuses every query parameter, for a route without declared parameters. `raw` is the query string.
pub(super) fn reject_parameters(raw: Option<&str>) -> Result<(), ErrorResponse> {
    Query::parse(raw, &[]).map(|_| ())
}

/// Returns the token in the query `raw` of an event stream. The handler checks the parameters later. `None`: there is
/// no token, or it is empty or malformed.
pub(super) fn access_token(raw: &str) -> Option<String> {
    let value = raw.split('&').find_map(|pair| pair.strip_prefix("access_token="))?;
    decode(value).filter(|token| !token.is_empty())
}

/// Returns the error for a parameter `name` that is not in `declared`.
fn undeclared_parameter(name: &str, declared: &[RequestField]) -> ErrorResponse {
    let mut short: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    if name.chars().count() > MAX_NAME_CHARS {
        short.push('…');
    }
    let names: Vec<String> = declared.iter().map(|field| format!("`{}`", field.name)).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    ErrorResponse::invalid(format!("the query parameter `{short}` is not declared; declared are {names}"))
}

/// Decodes percent-encoding. A `+` becomes a space, because HTML forms encode a space as `+`. `None`: the text is
/// malformed or not UTF-8.
fn decode(text: &str) -> Option<String> {
    // `percent_decode_str` accepts a `%` without two hex digits, so the digits are checked first.
    let mut remaining = text;
    while let Some(index) = remaining.find('%') {
        let digits = remaining.get(index + 1..index + 3)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        remaining = &remaining[index + 3..];
    }
    let with_spaces = text.replace('+', " ");
    percent_decode_str(&with_spaces).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ValueType;

    fn parse(raw: &str) -> Result<Query, String> {
        let declared = [
            RequestField::single("filename", ValueType::Text, ""),
            RequestField::single("task", ValueType::Text, ""),
            RequestField::repeatable("tag", ValueType::Text, ""),
        ];
        Query::parse(Some(raw), &declared).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn parameters_are_decoded_and_repeatable_ones_keep_their_order() {
        let mut query = parse("tag=b&filename=a+b%2B%C3%A9&tag=a&&").unwrap();
        assert_eq!(query.take("filename").as_deref(), Some("a b+é"));
        assert_eq!(query.take_all("tag"), ["b", "a"]);
        assert_eq!(query.take("task"), None);
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        assert!(parse("colour=red").unwrap_err().contains("`colour`"));
    }

    #[test]
    fn a_message_shortens_an_unknown_name_and_omits_its_control_characters() {
        let error = parse(&format!("%0d%0a{}=1", "x".repeat(1000))).unwrap_err();
        assert!(error.contains(&format!("`{}…`", "x".repeat(MAX_NAME_CHARS))), "{error}");
        assert!(!error.contains("\\r") && error.len() < 600);
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_refused() {
        assert!(parse("task=a&task=a").unwrap_err().contains("twice"));
    }

    #[test]
    fn broken_percent_encoding_is_refused() {
        for raw in ["task=%", "task=%f", "task=%zz", "task=%ff", "%ff=1", "task=%é"] {
            parse(raw).unwrap_err();
        }
    }

    #[test]
    fn the_token_is_found_among_other_parameters() {
        assert_eq!(access_token("admin=1&access_token=a.b%2Ec").as_deref(), Some("a.b.c"));
        assert_eq!(access_token("access_token="), None);
        assert_eq!(access_token("xaccess_token=1"), None);
    }
}
