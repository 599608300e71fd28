//! Decodes the JSON of requests. Refusals name members and never repeat values.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::envelope::Envelope;

/// The maximum number of characters of a member's name in a message. A longer name is cut, because the client chooses
/// the name.
const MAX_NAME_CHARS: usize = 64;
/// The maximum number of characters of the list of legal values in a message.
const MAX_LEGAL_CHARS: usize = 400;

/// Decodes `json` as a request.
///
/// # Errors
/// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if `json` is not a JSON object, or if a member is unknown,
/// missing, given twice or has an illegal value. The message names the member. If a value is wrong, the message also
/// says what is legal.
///
/// # Examples
/// ```
/// use artifact_store_protocol::{GetRequest, decode};
/// let refused = decode::<GetRequest>(br#"{"id": "x", "colour": "secret"}"#).unwrap_err();
/// assert_eq!(
///     refused.message,
///     "the member `colour` is not declared; declared are `scope`, `id`, `offset`, `max_bytes`"
/// );
/// ```
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Envelope> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let Object(request) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        invalid_request(&path, error.inner())
    })?;
    // Only whitespace may follow the object.
    reader.end().map_err(|error| invalid_request(".", &error))?;
    Ok(request)
}

/// Treats `null` as an absent member: clients in Go write empty slices as `null`.
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Like [`null_as_default`], for a member that must be an object.
pub(crate) fn null_as_default_object<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0).unwrap_or_default())
}

/// A `T` that must be written as a JSON object. The derived `Deserialize` of a struct also accepts an array of the
/// members' values, which is refused here.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

/// Converts an error to a refusal. The error may repeat values of the request, but the refusal does not. `path` names
/// the member that the error is about; `.` is the whole body. This function parses the messages of `serde`.
/// Tests fail if a version of `serde` changes these messages.
fn invalid_request(path: &str, error: &serde_json::Error) -> Envelope {
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return Envelope::invalid(format!("the body is not JSON: line {line}, column {column}"));
    }
    // `serde_json` ends a message with a position, such as ` at line 1 column 8`. The position is cut off.
    let full_text = error.to_string();
    let text = full_text.rsplit_once(" at line ").map_or(full_text.as_str(), |(text, _position)| text);
    // `serde` writes the legal values last, after the rejected value.
    let legal = text.rsplit_once(", expected ").map(|(_, legal)| match legal {
        "u64" => "a whole number, 0 or more".to_owned(),
        legal => truncate(legal, MAX_LEGAL_CHARS),
    });
    let message = if let Some(member) = unknown_member(text) {
        // `serde` writes `one of` before a list of several members.
        let declared = legal.as_deref().unwrap_or("none").trim_start_matches("one of ");
        // The path ends with the unknown member. The part before the member names the object that contains the member.
        let object =
            path.strip_suffix(member).and_then(|object| object.strip_suffix('.')).unwrap_or_default();
        let suffix = object_suffix(object);
        format!("the member `{}`{suffix} is not declared; declared are {declared}", printable_name(member))
    } else if let Some(member) = quoted_name(text, "missing field `") {
        // The path names the object that should contain the member.
        let suffix = object_suffix(if path == "." { "" } else { path });
        format!("the member `{member}`{suffix} is missing")
    } else if let Some(member) = quoted_name(text, "duplicate field `") {
        format!("the member `{member}` is given twice")
    } else if path == "." {
        format!("the body is not legal: expected {}", legal.as_deref().unwrap_or("an object"))
    } else {
        let legal = legal.map(|legal| format!("; expected {legal}")).unwrap_or_default();
        format!("the value of the member `{}` is not legal{legal}", printable_name(path))
    };
    Envelope::invalid(message)
}

/// The member's name in a message of `serde` about an unknown member; `None` for another message.
fn unknown_member(text: &str) -> Option<&str> {
    let after_start = text.strip_prefix("unknown field `")?;
    // The name of the member may contain the text of the separator, so the last match is the right one.
    let (member, _legal) = after_start.rsplit_once("`, expected ")?;
    Some(member)
}

/// The name between `start`, which ends with a backtick, and the next backtick. `None` if `text` does not begin with
/// `start`.
fn quoted_name(text: &str, start: &str) -> Option<String> {
    let after_start = text.strip_prefix(start)?;
    after_start.split('`').next().map(printable_name)
}

/// The words of a message that name the object of a member, such as `` of `scope` ``. If `object` is empty, the member
/// is in the body itself, and the result is empty, too.
fn object_suffix(object: &str) -> String {
    if object.is_empty() { String::new() } else { format!(" of `{}`", printable_name(object)) }
}

/// A member's name, shortened and without control characters, for a message.
fn printable_name(text: &str) -> String {
    truncate(text, MAX_NAME_CHARS)
}

/// At most the first `max_chars` characters of `text`, without control characters. If `text` is longer, a `…` follows.
fn truncate(text: &str, max_chars: usize) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(max_chars).collect();
    if text.chars().count() > max_chars {
        short.push('…');
    }
    short
}
