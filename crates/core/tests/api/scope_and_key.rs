//! Scope parts are always valid, and their tokens never change.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::collections::HashMap;

use artifact_store_core::{
    ArtifactId, ErrorKind, KeyToken, MAX_KEY_TOKEN_BYTES, Namespace, Scope, ScopePart, ScopePattern,
    TaskPattern, Timestamp,
};
use proptest::prelude::*;

#[test]
fn a_part_has_1_to_256_bytes_and_no_control_character() {
    for (text, is_valid) in [
        (String::new(), false),
        ("a".into(), true),
        ("a".repeat(256), true),
        ("a".repeat(257), false),
        ("é".repeat(128), true),
        (format!("{}a", "é".repeat(128)), false),
        ("a\0".into(), false),
        ("a\nb".into(), false),
        ("\u{7f}".into(), false),
        ("\u{85}".into(), false),
        ("a b".into(), true),
        ("..".into(), true),
        ("\u{202e}".into(), true),
    ] {
        let part = ScopePart::new(&text);
        assert_eq!(part.is_ok(), is_valid, "{text:?}");
        if let Err(error) = part {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        assert_eq!(Scope::new("t", &text, "s").is_ok(), is_valid, "as a user: {text:?}");
        let json = serde_json::json!({"tenant": "t", "user": "u", "session": "s", "task": text});
        assert_eq!(serde_json::from_value::<Scope>(json).is_ok(), is_valid, "as a task in JSON: {text:?}");
    }
}

#[test]
fn a_scope_survives_json_and_refuses_unknown_members() {
    let scope = Scope::new("acme", "ada", "s-1").unwrap();
    for scope in [scope.clone(), scope.with_task("t-1").unwrap()] {
        let json = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    }
    let json = r#"{"tenant": "a", "user": "b", "session": "c", "project": "d"}"#;
    assert!(serde_json::from_str::<Scope>(json).is_err());
}

/// If one of these tokens changes, existing artifacts are not found any more.
#[test]
fn tokens_never_change() {
    let scope = Scope::new("acme", "Ada Lovelace", "../..").unwrap();
    let tokens = KeyToken::of_scope(&scope).map(|token| token.to_string());
    assert_eq!(
        tokens,
        [
            "acme.jzjwpvcwcr5u7nwft5qm4qgtay3o5ywa",
            "ada-lovelace.44pmvc77le6g4k7pw3c5aaa6n7bbdltk",
            "-----.oz5zol7dayc4b3tawj5wpzqfruyqxvz7",
            "none.6zmjguyxxm3dft3cximuq4bt5qc262qt",
        ]
    );
    let task = KeyToken::of_task(Some(&ScopePart::new("none").unwrap()));
    assert_eq!(task.as_str(), "none.fxlte4qatqptwirdscmdzf4pqijwmpzt");
    let id: ArtifactId = "default_e3b0c44298fc1c149afbf4c8996fb924".parse().unwrap();
    assert_eq!(KeyToken::of_id(&id).as_str(), "default-e3b0.utxn7lzvjjzbsn4o5tcjbdwi3laxqvjw");
}

#[test]
fn one_text_has_a_different_token_in_every_part() {
    let part = ScopePart::new("same").unwrap();
    let tokens = [
        KeyToken::of_tenant(&part),
        KeyToken::of_user(&part),
        KeyToken::of_session(&part),
        KeyToken::of_task(Some(&part)),
        KeyToken::of_task(None),
    ];
    for (n, one) in tokens.iter().enumerate() {
        assert!(tokens[n + 1..].iter().all(|other| other != one));
    }
}

#[test]
fn a_namespace_has_1_to_128_legal_characters_and_does_not_start_with_a_dot() {
    for (text, is_valid) in [
        ("a", true),
        ("A.b_c-9", true),
        ("_", true),
        ("", false),
        (".a", false),
        ("a/b", false),
        ("a b", false),
        ("é", false),
        (&"n".repeat(128), true),
        (&"n".repeat(129), false),
    ] {
        assert_eq!(Namespace::new(text).is_ok(), is_valid, "{text:?}");
    }
}

#[test]
fn an_id_is_a_namespace_and_32_lower_case_hex_digits() {
    let hex = "0123456789abcdef0123456789abcdef";
    for (text, is_valid) in [
        (format!("a_{hex}"), true),
        (format!("a_b_{hex}"), true),
        (format!("__{hex}"), true),
        (format!("_{hex}"), false),
        (hex.to_owned(), false),
        (format!("a_{}", hex.to_uppercase()), false),
        (format!("a_{hex}0"), false),
        (format!("a_{}", &hex[1..]), false),
        (format!(".a_{hex}"), false),
        (format!("a/b_{hex}"), false),
    ] {
        assert_eq!(text.parse::<ArtifactId>().is_ok(), is_valid, "{text:?}");
    }
}

fn part() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}".prop_filter("too long", |text| text.len() <= 256)
}

proptest! {
    #[test]
    fn any_valid_part_fits_a_case_insensitive_file_name(text in part()) {
        let token = KeyToken::of_tenant(&ScopePart::new(&text).unwrap());
        let token = token.as_str();
        prop_assert!(token.len() <= MAX_KEY_TOKEN_BYTES);
        let (stub, hash) = token.split_once('.').unwrap();
        prop_assert!((1..=12).contains(&stub.len()) && hash.len() == 32);
        let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        prop_assert!(stub.chars().all(is_valid));
        prop_assert!(hash.chars().all(|c| c.is_ascii_lowercase() || ('2'..='7').contains(&c)));
    }

    #[test]
    fn different_parts_have_different_tokens(texts in proptest::collection::vec(part(), 2..20)) {
        let mut seen = HashMap::new();
        for text in texts {
            let token = KeyToken::of_user(&ScopePart::new(&text).unwrap());
            let before = seen.insert(token, text.clone());
            prop_assert!(before.is_none_or(|before| before == text));
        }
    }

    #[test]
    fn a_pattern_matches_its_scope_and_no_neighbour(t in part(), u in part(), s in part(), k in part(), x in part()) {
        let scope = Scope::new(&t, &u, &s).unwrap().with_task(&k).unwrap();
        prop_assert!(ScopePattern::exactly(&scope).matches(&scope));
        prop_assert!(ScopePattern::session_of(&scope).matches(&scope));
        prop_assert!(ScopePattern::all_tenants().matches(&scope));
        let no_task = Scope::new(&t, &u, &s).unwrap();
        prop_assert!(!ScopePattern::exactly(&scope).matches(&no_task));
        prop_assert!(!ScopePattern::exactly(&no_task).matches(&scope));
        prop_assert!(!ScopePattern::session_of(&scope).task(TaskPattern::NoTask).matches(&scope));
        let other = Scope::new(&x, &u, &s).unwrap().with_task(&k).unwrap();
        prop_assert_eq!(ScopePattern::exactly(&scope).matches(&other), x == t);
    }
}

#[test]
fn every_timestamp_is_parsed_back_from_its_text() {
    for micros in [
        i64::MIN,
        -62_167_219_200_000_001,
        -1,
        0,
        1,
        1_767_323_045_000_006,
        253_402_207_201_000_000,
        i64::MAX,
    ] {
        let timestamp = Timestamp::from_micros(micros);
        assert_eq!(timestamp.to_string().parse::<Timestamp>().unwrap(), timestamp, "{micros}");
    }
    assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "0000-01-01T00:00:00.000000Z");
    assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-30T22:00:00.000000Z");
}
