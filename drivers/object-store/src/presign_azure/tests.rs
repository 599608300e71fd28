//! Vectors: the order of the fields is that of "Create a service SAS" and "Create a user delegation SAS" (version
//! 2020-12-06 and later) in Microsoft's documentation, whose examples have no key. So the key is the one that is
//! documented for the emulator Azurite, and the expected signatures are those of Microsoft's client library for Python,
//! azure-storage-blob 12.19.1, for the same values.

use super::*;
use crate::presign_delegation::DelegationKey;

/// The account and the key of Azurite.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const END: &str = "2026-01-02T03:04:05Z";

/// The parameter of `url` with this name, as it was signed.
fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn sign(endpoint: &str, key: &str, headers: ResponseHeaders<'_>) -> Url {
    let location = Location::new(endpoint, ACCOUNT, "artifacts");
    let sas = Sas { location: &location, key, end: END.parse().unwrap(), headers };
    sas.sign(&AccessKey::parse(KEY).unwrap(), &[]).unwrap()
}

#[test]
fn a_service_sas_has_the_signature_of_microsofts_library() {
    let https = "https://devstoreaccount1.blob.core.windows.net";
    let none = ResponseHeaders::default();
    let all = ResponseHeaders {
        content_type: "text/csv; charset=utf-8",
        content_disposition: "attachment; filename=\"a b.csv\"; filename*=UTF-8''a%20b.csv",
        cache_control: "private",
    };
    let plain = ResponseHeaders { content_type: "text/plain", ..none };
    for (endpoint, key, headers, signature) in [
        (https, "a/b.txt", none, "jYfvBkYxleZTSSzwGH7YPdAfRuv5+dfiyB7MwI1Y5dE="),
        (https, "team/a b&c.txt", all, "Q4mVDZv6E7+RYmgKIZZybBw4UL5rlzeEIFPxEUzhwoE="),
        // With plain http, no protocol is signed. The account is in the path of the emulator's address.
        (
            "http://127.0.0.1:10000/devstoreaccount1",
            "a/b.txt",
            plain,
            "UJ7U0QqCtFGQushQpzIu0AdjqQRsc7TTkkBY5JgJkx0=",
        ),
    ] {
        let url = sign(endpoint, key, headers);
        assert_eq!(parameter(&url, "sig").unwrap(), signature, "{url}");
    }
}

#[test]
fn the_url_contains_every_signed_field_escaped() {
    let headers = ResponseHeaders {
        content_type: "text/plain",
        content_disposition: "attachment; filename=\"a b\"",
        cache_control: "private",
    };
    let url = sign("https://devstoreaccount1.blob.core.windows.net", "a b", headers);
    assert_eq!(
        url.as_str().split_once("&sig=").unwrap().0,
        "https://devstoreaccount1.blob.core.windows.net/artifacts/a%20b?sv=2020-12-06&sr=b&sp=r\
         &se=2026-01-02T03%3A04%3A05Z&spr=https&rscc=private&rscd=attachment%3B%20filename%3D%22a%20b%22\
         &rsct=text%2Fplain"
    );
}

#[test]
fn a_user_delegation_sas_has_the_signature_of_microsofts_library() {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey>\
         <SignedOid>11111111-2222-3333-4444-555555555555</SignedOid>\
         <SignedTid>66666666-7777-8888-9999-000000000000</SignedTid>\
         <SignedStart>2026-01-01T00:00:00Z</SignedStart><SignedExpiry>2026-01-03T00:00:00Z</SignedExpiry>\
         <SignedService>b</SignedService><SignedVersion>2020-12-06</SignedVersion><Value>{KEY}</Value>\
         </UserDelegationKey>"
    );
    let key = DelegationKey::parse(&xml).unwrap();
    let location = Location::new("https://devstoreaccount1.blob.core.windows.net", ACCOUNT, "artifacts");
    let headers = ResponseHeaders {
        content_type: "text/plain",
        content_disposition: "attachment",
        cache_control: "private",
    };
    let url =
        key.sign(Sas { location: &location, key: "a/b.txt", end: END.parse().unwrap(), headers }).unwrap();
    assert_eq!(parameter(&url, "sig").unwrap(), "PLrsqhtJkSTt1W6UFc+YmscRcnSZIT7MbxKCYzAXG6o=");
    assert_eq!(parameter(&url, "skoid").unwrap(), "11111111-2222-3333-4444-555555555555");
    assert!(!format!("{key:?}").contains(KEY));
    for missing in ["SignedOid", "SignedExpiry", "Value"] {
        assert!(DelegationKey::parse(&xml.replace(missing, "Other")).is_none(), "{missing}");
    }
}
