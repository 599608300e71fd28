//! The service SAS of a blob or a container, by the published algorithm: "Create a service SAS", version 2020-12-06 and
//! later.
//!
//! <https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas>

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::error::{Failure, authentication_failed, forbidden};
use super::shared_key;
use super::target::{Query, Target};

/// The first version whose text to sign has an encryption scope.
const FIRST_VERSION: &str = "2020-12-06";
/// The parameters that the signature covers beside the address, in the order of the text. `None` is the address.
const SIGNED: [Option<&str>; 16] = [
    Some("sp"),
    Some("st"),
    Some("se"),
    None,
    Some("si"),
    Some("sip"),
    Some("spr"),
    Some("sv"),
    Some("sr"),
    Some("snapshot"),
    Some("ses"),
    Some("rscc"),
    Some("rscd"),
    Some("rsce"),
    Some("rscl"),
    Some("rsct"),
];
/// The parameters that replace a header of the response.
pub(super) const RESPONSE_HEADERS: [(&str, &str); 5] = [
    ("rscc", "cache-control"),
    ("rscd", "content-disposition"),
    ("rsce", "content-encoding"),
    ("rscl", "content-language"),
    ("rsct", "content-type"),
];

/// The text that is signed. The address is percent-decoded, as the page says.
fn string_to_sign(query: &Query, account: &str, container: &str, blob: &str) -> String {
    let resource = match query.get("sr") {
        Some("c") => format!("/blob/{account}/{container}"),
        _ => format!("/blob/{account}/{container}/{blob}"),
    };
    let value = |name: Option<&str>| match name {
        Some(name) => query.get(name).unwrap_or_default().to_owned(),
        None => resource.clone(),
    };
    SIGNED.map(value).join("\n")
}

/// Checks signature, resource, time, protocol and address. Returns the permissions.
pub(super) fn verify(target: &Target, key: &str, now: Timestamp) -> Result<String, Failure> {
    let query = &target.query;
    let parameter = |name: &str| query.get(name).filter(|value| !value.is_empty());
    for unsupported in ["si", "skoid", "ss"] {
        if parameter(unsupported).is_some() {
            return Err(authentication_failed(format!("the stand-in does not know {unsupported} of a SAS")));
        }
    }
    let version = parameter("sv").unwrap_or_default();
    if version < FIRST_VERSION {
        return Err(authentication_failed(format!("the stand-in knows sv from {FIRST_VERSION} on")));
    }
    let text = string_to_sign(query, &target.account, &target.container, &target.blob);
    if !shared_key::verify(key, &text, parameter("sig").unwrap_or_default())? {
        return Err(authentication_failed(format!(
            "Signature did not match. String to sign used was {text}"
        )));
    }
    match parameter("sr") {
        Some("b") if !target.blob.is_empty() => {}
        Some("c") => {}
        _ => return Err(authentication_failed("sr is b for a blob, or c")),
    }
    let expiry = parameter("se").and_then(parse_time);
    let start = parameter("st").map(parse_time);
    if expiry.is_none_or(|expiry| now >= expiry)
        || start.is_some_and(|start| start.is_none_or(|start| now < start))
    {
        return Err(authentication_failed("Signature not valid in the specified time frame"));
    }
    if parameter("spr") == Some("https") {
        return Err(forbidden("AuthorizationProtocolMismatch", "the SAS is for https, and this is http"));
    }
    // The stand-in listens on a loopback address only.
    if parameter("sip").is_some_and(|range| !includes_loopback(range)) {
        return Err(forbidden("AuthorizationSourceIPMismatch", "the SAS is for another address"));
    }
    Ok(parameter("sp").unwrap_or_default().to_owned())
}

/// Parses the forms of a time that the page allows.
fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let civil = ["%Y-%m-%dT%H:%MZ", "%Y-%m-%d"].iter().find_map(|form| match *form {
        "%Y-%m-%d" => jiff::civil::Date::strptime(form, text).ok().map(|date| date.at(0, 0, 0, 0)),
        form => DateTime::strptime(form, text).ok(),
    })?;
    Offset::UTC.to_timestamp(civil).ok()
}

fn includes_loopback(range: &str) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse::<std::net::Ipv4Addr>(), last.parse::<std::net::Ipv4Addr>());
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    matches!((first, last), (Ok(first), Ok(last)) if first <= loopback && loopback <= last)
}

/// Signs a SAS. `parameters` has everything but `sig`. Returns the signature in base64.
pub(crate) fn sign(
    parameters: &[(String, String)],
    key: &str,
    account: &str,
    container: &str,
    blob: &str,
) -> Result<String, crate::Error> {
    shared_key::sign(key, &string_to_sign(&Query(parameters.to_vec()), account, container, blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key for these vectors alone.
    const KEY: &str = "YXJ0aWZhY3Qtc3RvcmUsIGEga2V5IGZvciB0ZXN0cyA=";
    // Made by Microsoft's client, `azure-storage-blob` 12.31.1 of PyPI, with every field that it can sign.
    const BLOB: &str = "st=2026-01-02T03%3A04%3A05Z&se=2026-01-02T04%3A04%3A05Z&sp=r&sip=127.0.0.1&spr=https%2Chttp&\
                        sv=2026-10-06&sr=b&rscc=no-store&rscd=attachment%3B%20filename%3D%22p.jpg%22&rsce=identity&\
                        rscl=en&rsct=image/jpeg&sig=w0orkXuZC5iYEHl659Lxbw%2BetsByHQpbf7N2t%2BTMR4E%3D";
    const CONTAINER: &str = "se=2026-01-02T04%3A04%3A05Z&sp=rl&sv=2026-10-06&sr=c&\
                             sig=VVpEDAXTh/TE8gcmjarUUo%2B7E%2BY7u6UDwKUHxFc3pPY%3D";

    fn verified(path: &str, query: &str, now: &str) -> Result<String, String> {
        let uri = format!("{path}?{query}").parse().map_err(|_| "not an address".to_owned())?;
        let target = Target::parse(&uri).map_err(|failure| format!("{failure:?}"))?;
        let now = now.parse().map_err(|_| "not a time".to_owned())?;
        verify(&target, KEY, now).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn a_sas_of_microsofts_client_is_accepted() {
        let path = "/myaccount/pictures/a%20b/profile.jpg";
        assert_eq!(verified(path, BLOB, "2026-01-02T03:30:00Z"), Ok("r".to_owned()));
        assert_eq!(verified("/myaccount/pictures", CONTAINER, "2026-01-02T03:30:00Z"), Ok("rl".to_owned()));
        assert_eq!(
            verified("/myaccount/pictures/any", CONTAINER, "2026-01-01T00:00:00Z"),
            Ok("rl".to_owned())
        );
    }

    #[test]
    fn a_sas_is_refused_before_its_start_and_from_its_expiry_on() {
        let path = "/myaccount/pictures/a%20b/profile.jpg";
        assert!(verified(path, BLOB, "2026-01-02T03:04:05Z").is_ok());
        for time in ["2026-01-02T03:04:04Z", "2026-01-02T04:04:05Z"] {
            let error = verified(path, BLOB, time).unwrap_err();
            assert!(error.contains("AuthenticationFailed") && error.contains("time frame"), "{error}");
        }
    }

    #[test]
    fn a_sas_is_refused_if_any_signed_field_differs() {
        let path = "/myaccount/pictures/a%20b/profile.jpg";
        let altered = [
            ("st=2026-01-02T03", "st=2026-01-02T02"),
            ("se=2026-01-02T04", "se=2026-01-02T05"),
            ("sp=r", "sp=rw"),
            ("sip=127.0.0.1", "sip=127.0.0.1-127.0.0.2"),
            ("spr=https%2Chttp", "spr=http"),
            ("sv=2026-10-06", "sv=2026-10-07"),
            ("sr=b", "sr=c"),
            ("rscc=no-store", "rscc=no-cache"),
            ("rscd=attachment", "rscd=inline"),
            ("rsce=identity", "rsce=gzip"),
            ("rscl=en", "rscl=de"),
            ("rsct=image/jpeg", "rsct=text/html"),
            ("rsct=image/jpeg&", ""),
            ("sr=b", "sr=b&ses=scope"),
            ("sr=b", "sr=b&snapshot=2026"),
            ("sig=w0", "sig=w1"),
        ];
        for (from, to) in altered {
            let query = BLOB.replace(from, to);
            assert_ne!(query, BLOB, "{from}");
            let error = verified(path, &query, "2026-01-02T03:30:00Z").unwrap_err();
            assert!(error.contains("AuthenticationFailed"), "{from}: {error}");
        }
        for path in
            ["/other/pictures/a%20b/profile.jpg", "/myaccount/other/a", "/myaccount/pictures/a%20b/other"]
        {
            assert!(verified(path, BLOB, "2026-01-02T03:30:00Z").is_err(), "{path}");
        }
    }

    #[test]
    fn a_time_has_the_documented_forms() {
        for text in ["2026-01-02T03:04:05Z", "2026-01-02T03:04Z", "2026-01-02"] {
            assert!(parse_time(text).is_some(), "{text}");
        }
        assert_eq!(parse_time("tomorrow"), None);
    }
}
