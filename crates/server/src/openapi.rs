//! The OpenAPI document of the server: every route, every code, and examples that a test sends to a real server.
//!
//! The document is generated from data that the server uses too: the table of routes and their fields, the registry of
//! codes, the methods, and the types of the protocol. This module must never know a request.

mod examples;
mod operations;
mod responses;
mod schemas;
mod security;

use std::sync::LazyLock;

use artifact_store_protocol::PROTOCOL_VERSION;
use serde_json::Value;
use utoipa::openapi::info::License;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Info, OpenApi};

/// The tags of the operations, and their descriptions.
const TAGS: &[(&str, &str)] = &[
    ("control", "Methods: a flat JSON object in, a flat JSON object out."),
    ("bytes", "The byte plane: the raw bytes of artifacts, streamed."),
    ("events", "Uploads, deletes and audit events, as Server-Sent Events."),
    (
        "probes",
        "Requests without a token: whether the server is alive and can serve requests, its metrics, and this document.",
    ),
];

const DESCRIPTION: &str = "Artifacts of agent runtimes: put, get, list and delete them under a scope, upload and download their bytes, and \
    receive events. Every error response has the body `Envelope`; branch on its `code`. Every response has an `X-Request-Id`, under \
    which the operator finds the cause in the log.";

/// Returns the document (OpenAPI 3.1.0) as JSON. The document is the same for every server of this version, whatever
/// its configuration.
///
/// # Examples
/// ```
/// let document = artifact_store_server::openapi::document();
/// assert_eq!(document["openapi"], "3.1.0");
/// assert!(document["paths"]["/v1/control/artifacts.put"]["post"].is_object());
/// ```
pub fn document() -> Value {
    // Serializing plain data cannot fail.
    let mut document = serde_json::to_value(openapi()).unwrap_or_default();
    schemas::amend(&mut document);
    document
}

/// Returns the document as the text that is served: indented, and with a line feed at the end.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

/// Builds the document from the types of `utoipa`.
fn openapi() -> OpenApi {
    let mut info = Info::new("Harbor Protocol: artifacts", PROTOCOL_VERSION);
    info.description = Some(DESCRIPTION.into());
    let mut license = License::new("Apache License 2.0");
    license.identifier = Some("Apache-2.0".into());
    info.license = Some(license);
    let components = security::add_schemes(schemas::components());
    let tags = TAGS
        .iter()
        .map(|(name, description)| TagBuilder::new().name(*name).description(Some(*description)).build());
    OpenApi::builder()
        .info(info)
        .paths(operations::paths())
        .components(Some(components.build()))
        .tags(Some(tags))
        .build()
}

#[cfg(test)]
mod tests {
    use artifact_store_protocol::{Code, Method};
    use serde_json::json;

    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn every_route_method_and_code_is_described() {
        let document = document();
        for route in ROUTES {
            for verb in route.verbs {
                let operation = &document["paths"][route.path][verb.to_lowercase()];
                assert!(operation["responses"].is_object(), "{verb} {}", route.path);
                assert_eq!(operation["security"].is_array(), route.token, "{verb} {}", route.path);
            }
        }
        for method in Method::ALL {
            let operation = &document["paths"][format!("/v1/control/{method}")]["post"];
            assert_eq!(operation["operationId"], method.name());
        }
        let text = document["paths"].to_string();
        for code in Code::ALL {
            assert!(text.contains(&format!("{{\"code\":\"{code}\"")), "no operation responds with {code}");
        }
    }

    #[test]
    fn every_reference_can_be_resolved() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    /// Appends to `found` the value of every member `name` in `value`, at any depth.
    fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(all) => {
                found.extend(all.get(name));
                all.values().for_each(|member| members(member, name, found));
            }
            Value::Array(items) => items.iter().for_each(|item| members(item, name, found)),
            _ => {}
        }
    }

    /// Returns the value of every member `name` in the document, at any depth.
    fn all_members<'a>(document: &'a Value, name: &str) -> Vec<&'a Value> {
        let mut found = Vec::new();
        members(document, name, &mut found);
        assert!(!found.is_empty(), "the document has no {name}");
        found
    }

    #[test]
    fn every_body_has_a_schema() {
        // Client generators leave out a body without a schema.
        let document = document();
        for content in all_members(&document["paths"], "content") {
            // An example may also have a member `content`, but there the value is a string.
            for (media_type, body) in content.as_object().into_iter().flatten() {
                assert!(body["schema"].is_object(), "{media_type}: {body}");
            }
        }
        let bytes = &document["paths"]["/v1/artifacts"]["put"]["requestBody"]["content"];
        assert_eq!(
            bytes["application/octet-stream"]["schema"],
            json!({"type": "string", "format": "binary"})
        );
    }

    #[test]
    fn every_header_parameter_is_a_string_even_if_it_has_several_values() {
        let document = document();
        let mut headers = 0;
        for parameters in all_members(&document["paths"], "parameters") {
            // A link also has `parameters`, but not as an array.
            for parameter in parameters.as_array().into_iter().flatten().filter(|each| each["in"] == "header")
            {
                assert_eq!(parameter["schema"]["type"], "string", "{parameter}");
                headers += 1;
            }
        }
        // With fewer headers, the loop has probably missed some.
        assert!(headers > 20, "{headers}");
    }

    #[test]
    fn no_description_contains_the_end_of_a_comment() {
        // Generated clients have the descriptions in comments. A `*/` in a description would end its comment.
        fn search(value: &Value) {
            match value {
                Value::Object(members) => {
                    for (name, value) in members {
                        let text =
                            value.as_str().filter(|_| ["description", "summary"].contains(&name.as_str()));
                        assert!(!text.is_some_and(|text| text.contains("*/")), "{text:?}");
                        search(value);
                    }
                }
                Value::Array(items) => items.iter().for_each(search),
                _ => {}
            }
        }
        search(&serde_json::from_str(text()).unwrap());
    }

    #[test]
    fn a_link_has_no_expression_within_a_body() {
        let document = document();
        for links in all_members(&document["paths"], "links") {
            for link in links.as_object().unwrap().values() {
                // An expression for the whole body is a string.
                let body = link.get("requestBody");
                assert!(body.is_none_or(Value::is_string), "{link}");
            }
        }
    }

    #[test]
    fn every_format_is_one_that_generators_know() {
        let document = document();
        let known = ["int64", "date-time", "binary"];
        for format in all_members(&document, "format") {
            assert!(known.iter().any(|known| format == known), "{format}");
        }
    }
}
