//! Headers that select bytes, tokens, and the keys that verify them.

use artifact_store_laws::{headers, tokens};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{odd_text, with_byte_edits};

fn position() -> impl Strategy<Value = String> {
    let edge = [
        "0",
        "1",
        "9",
        "10",
        "999",
        "1000",
        "18446744073709551615",
        "18446744073709551616",
        "00",
        "-1",
        "+1",
        " 1",
    ];
    prop_oneof![
        Just(String::new()),
        (0..1100_u32).prop_map(|at| at.to_string()),
        prop::sample::select(edge.to_vec()).prop_map(str::to_owned)
    ]
}

fn range() -> impl Strategy<Value = String> {
    let unit = prop::sample::select(vec!["bytes", "Bytes", "bytes ", "byte", "lines"]);
    prop_oneof![
        8 => (unit, position(), position()).prop_map(|(unit, first, last)| format!("{unit}={first}-{last}")),
        1 => prop::collection::vec((position(), position()), 0..40).prop_map(|set| {
            let set: Vec<_> = set.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            format!("bytes={}", set.join(","))
        }),
        1 => odd_text(),
    ]
}

fn condition() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "",
        "E",
        "*",
        "\"x\"",
        "W/\"x\", \"y\"",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 2094 08:49:37 GMT",
    ];
    prop_oneof![3 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()), 1 => with_byte_edits(odd_text())]
}

fn digest() -> impl Strategy<Value = String> {
    let value = "[A-Za-z0-9+/]{40,44}={0,2}";
    prop_oneof![
        Just("D".to_owned()),
        value.prop_map(|value| format!("sha-256=:{value}:")),
        value.prop_map(|value| format!("sha-512=:AAAA:, sha-256=:{value}:;x")),
        odd_text(),
    ]
}

/// A claim of the right type, or of another.
fn claim() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => odd_text().prop_map(Value::from),
        2 => prop::collection::vec(prop::sample::select(vec!["admin", "console:fleet", "x"]), 0..3).prop_map(Value::from),
        2 => any::<u32>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<f64>().prop_map(|number| json!(number)),
    ]
}

fn claims() -> impl Strategy<Value = String> {
    let names = ["tenant", "user", "session", "scopes", "exp", "nbf", "iss", "aud", "sub"];
    let right = json!({"tenant": "t", "user": "u", "session": "s", "exp": 4_102_444_800_u64});
    let altered = prop::collection::vec(
        (prop::sample::select(names.to_vec()), prop::option::weighted(0.8, claim())),
        0..3,
    );
    altered.prop_map(move |altered| {
        let mut claims: Map<String, Value> = right.as_object().unwrap().clone();
        for (name, value) in altered {
            match value {
                Some(value) => drop(claims.insert(name.to_owned(), value)),
                None => drop(claims.remove(name)),
            }
        }
        Value::Object(claims).to_string()
    })
}

proptest! {
    #[test]
    fn a_download_returns_what_its_headers_select(
        which in 0..4_usize,
        range in with_byte_edits(range()),
        if_range in condition(),
        if_none_match in condition(),
        since in condition(),
    ) {
        headers::check_download(which, &range, &if_range, &[], &[]);
        headers::check_download(which, &range, &if_range, &if_none_match, &since);
    }

    #[test]
    fn an_upload_is_accepted_only_with_its_own_digest(which in 0..4_usize, digest in with_byte_edits(digest())) {
        headers::check_upload(which, &digest);
    }

    #[test]
    fn a_signed_token_is_accepted_exactly_if_its_claims_are_valid(claims in with_byte_edits(claims())) {
        tokens::check_signed_token(b"E", &claims);
    }

    #[test]
    fn a_signed_token_with_another_header_is_accepted_only_if_the_header_is_valid(
        header in with_byte_edits(prop::sample::select(vec![
            r#"{"alg":"ES256"}"#, r#"{"alg":"none"}"#, r#"{"alg":"HS256","kid":"x"}"#, r#"{"alg":"ES256","crit":["x"]}"#,
            r#"{"alg":"ES256","kid":"x"}"#, r#"{"alg":"ES256","alg":"ES256"}"#, r#"["ES256"]"#,
        ]).prop_map(str::to_owned)),
    ) {
        tokens::check_signed_token(&header, br#"{"tenant":"t","user":"u","session":"s","exp":4102444800}"#);
    }

    #[test]
    fn an_altered_token_is_refused(edits in prop::collection::vec(any::<u8>(), 2..12)) {
        tokens::any(&[&b"e\xff"[..], &edits].concat());
    }

    #[test]
    fn private_keys_are_refused_and_no_value_of_a_key_is_repeated(
        members in prop::collection::vec((prop::sample::select(vec![
            "kty", "crv", "x", "y", "alg", "use", "key_ops", "kid", "k", "d", "p", "n", "e", "x5c", "oth",
        ]), claim()), 0..4),
    ) {
        let members: Map<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        tokens::any(&[&b"m\xff"[..], Value::Object(members).to_string().as_bytes()].concat());
    }
}
