//! Shared Key, by the published algorithm: "Authorize with Shared Key", versions 2015-02-21 and later.
//!
//! <https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key>

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, Method};
use sha2::Sha256;

use super::target::Query;
use crate::Error;

/// Whether `signature` is the base64 of the HMAC-SHA256 of `text`. `key` is the account's key, in base64.
pub(super) fn verify(key: &str, text: &str, signature: &str) -> Result<bool, Error> {
    let Ok(signature) = BASE64.decode(signature.as_bytes()) else { return Ok(false) };
    Ok(hmac(key, text)?.verify_slice(&signature).is_ok())
}

/// The base64 of the HMAC-SHA256 of `text`.
pub(crate) fn sign(key: &str, text: &str) -> Result<String, Error> {
    Ok(BASE64.encode(&hmac(key, text)?.finalize().into_bytes()))
}

fn hmac(key: &str, text: &str) -> Result<Hmac<Sha256>, Error> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(key.as_bytes())?)?;
    hmac.update(text.as_bytes());
    Ok(hmac)
}

/// The text that a Shared Key signature signs. `path` is the path of the request as it was sent, still encoded.
pub(crate) fn string_to_sign(
    method: &Method,
    account: &str,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> String {
    let value = |name: HeaderName| header(headers, name.as_str()).unwrap_or_default();
    // With `x-ms-date`, the other date is left out.
    let date = if headers.contains_key("x-ms-date") { "" } else { value(DATE) };
    let length = match value(CONTENT_LENGTH) {
        "0" => "",
        length => length,
    };
    let lines = [
        method.as_str(),
        value(CONTENT_ENCODING),
        value(CONTENT_LANGUAGE),
        length,
        header(headers, "content-md5").unwrap_or_default(),
        value(CONTENT_TYPE),
        date,
        value(IF_MODIFIED_SINCE),
        value(IF_MATCH),
        value(IF_NONE_MATCH),
        value(IF_UNMODIFIED_SINCE),
        value(RANGE),
    ];
    format!(
        "{}\n{}{}",
        lines.join("\n"),
        canonical_headers(headers),
        canonical_resource(account, path, query)
    )
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The headers that begin with `x-ms-`, sorted by name, one line each.
fn canonical_headers(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.retain(|name| name.starts_with("x-ms-"));
    names.sort_unstable();
    let line = |name: &&str| format!("{name}:{}\n", header(headers, name).unwrap_or_default());
    names.iter().map(line).collect()
}

/// The account and the path, then the parameters: names in lower case and sorted, values sorted and separated by commas.
fn canonical_resource(account: &str, path: &str, query: &Query) -> String {
    let mut parameters: Vec<(String, &str)> =
        query.0.iter().map(|(name, value)| (name.to_lowercase(), value.as_str())).collect();
    parameters.sort_unstable();
    let mut resource = format!("/{account}{path}");
    let mut previous = None;
    for (name, value) in &parameters {
        if previous == Some(name) {
            resource.push(',');
        } else {
            resource.extend(["\n", name, ":"]);
        }
        resource.push_str(value);
        previous = Some(name);
    }
    resource
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    // The examples of the page "Authorize with Shared Key".

    #[test]
    fn the_documented_example_of_a_get_is_reproduced() {
        let headers =
            headers(&[("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"), ("x-ms-version", "2015-02-21")]);
        let query = Query::parse("restype=container&comp=metadata&timeout=20").ok().unwrap_or_default();
        assert_eq!(
            string_to_sign(&Method::GET, "myaccount", "/mycontainer", &query, &headers),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    #[test]
    fn the_documented_example_of_several_values_of_a_parameter_is_reproduced() {
        let query = Query::parse(
            "restype=container&comp=list&include=snapshots&include=metadata&include=uncommittedblobs",
        );
        assert_eq!(
            canonical_resource("myaccount", "/mycontainer", &query.ok().unwrap_or_default()),
            "/myaccount/mycontainer\ncomp:list\ninclude:metadata,snapshots,uncommittedblobs\nrestype:container"
        );
    }

    #[test]
    fn the_documented_example_of_a_put_without_a_body_is_reproduced() {
        let headers = headers(&[
            ("content-length", "0"),
            ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
            ("x-ms-version", "2015-02-21"),
        ]);
        let query = Query::parse("restype=container&timeout=30").ok().unwrap_or_default();
        assert_eq!(
            string_to_sign(&Method::PUT, "myaccount", "/mycontainer", &query, &headers),
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\nrestype:container\ntimeout:30"
        );
    }

    #[test]
    fn a_length_of_zero_is_left_out_and_any_other_is_signed() {
        let text = |length| {
            let headers = headers(&[("content-length", length), ("x-ms-date", "D"), ("date", "other")]);
            string_to_sign(&Method::PUT, "a", "/a/c/b", &Query::default(), &headers)
        };
        assert_eq!(text("0"), "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:D\n/a/a/c/b");
        assert_eq!(text("11"), "PUT\n\n\n11\n\n\n\n\n\n\n\n\nx-ms-date:D\n/a/a/c/b");
    }

    /// The key and the text are those of RFC 4231, test case 2.
    #[test]
    fn a_signature_is_the_hmac_sha256_in_base64() {
        let key = BASE64.encode(b"Jefe");
        let signature = sign(&key, "what do ya want for nothing?").unwrap_or_default();
        assert_eq!(signature, "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    }
}
