//! Names: scope parts and their key tokens, namespaces, ids, digests, timestamps.

use artifact_store_core::{
    ArtifactId, Digest, KeyToken, MAX_KEY_TOKEN_BYTES, Namespace, Scope, ScopePart, Timestamp,
};

use crate::{split_fields, text};

/// Fields: two texts.
pub fn any(data: &[u8]) {
    let [one, other] = split_fields(data).map(text);
    check_part(&one);
    check_part(&other);
    check_tokens_differ(&one, &other);
    for text in [&one, &other] {
        check_namespace(text);
        check_id(text);
        check_digest(text);
        check_timestamp(text);
    }
}

/// A part is legal by the rule of the contract. Its tokens fit any storage and are different for each kind of part.
pub fn check_part(text: &str) {
    let legal = (1..=256).contains(&text.len())
        && !text.chars().any(|c| matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f));
    let part = ScopePart::new(text);
    assert_eq!(part.is_ok(), legal, "{text:?}");
    let Ok(part) = part else { return };
    assert_eq!(part.as_str(), text);
    let tokens = [
        KeyToken::of_tenant(&part),
        KeyToken::of_user(&part),
        KeyToken::of_session(&part),
        KeyToken::of_task(Some(&part)),
    ];
    for (index, token) in tokens.iter().enumerate() {
        check_token(token.as_str(), text);
        assert!(tokens[..index].iter().all(|before| before != token), "two parts of {text:?} share a token");
    }
    assert_ne!(tokens[3], KeyToken::of_task(None), "the task {text:?} has the token of no task");
    assert_eq!(tokens[0], KeyToken::of_tenant(&part), "the same part has two tokens");
    let scope = Scope::new(text, text, text).unwrap().with_task(text).unwrap();
    assert_eq!(KeyToken::of_scope(&scope), tokens);
}

/// A token is the stub of `text`, a dot and 32 digits of base32.
fn check_token(token: &str, text: &str) {
    assert!(token.len() <= MAX_KEY_TOKEN_BYTES, "{token}");
    let (stub, hash) = token.split_once('.').expect("a token has a dot");
    let mut expected = String::new();
    for letter in text.chars().take(12) {
        let letter = letter.to_ascii_lowercase();
        let readable = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        expected.push(if readable { letter } else { '-' });
    }
    assert_eq!(stub, expected);
    assert!(hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')), "{token}");
}

/// Different texts have different tokens.
pub fn check_tokens_differ(one: &str, other: &str) {
    let (Ok(one), Ok(other)) = (ScopePart::new(one), ScopePart::new(other)) else { return };
    let of = [
        |part: &ScopePart| KeyToken::of_tenant(part),
        |part: &ScopePart| KeyToken::of_user(part),
        |part: &ScopePart| KeyToken::of_session(part),
        |part: &ScopePart| KeyToken::of_task(Some(part)),
    ];
    for (index, one_of) in of.iter().enumerate() {
        for (beside, other_of) in of.iter().enumerate() {
            let same = one_of(&one) == other_of(&other);
            assert_eq!(same, index == beside && one == other, "{one:?} and {other:?}");
        }
    }
}

fn check_namespace(text: &str) {
    let legal = (1..=128).contains(&text.len())
        && !text.starts_with('.')
        && text.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-'));
    let namespace = Namespace::new(text);
    assert_eq!(namespace.is_ok(), legal, "{text:?}");
    let Ok(namespace) = namespace else { return };
    assert_eq!(namespace.as_str(), text);
    let id = ArtifactId::new(&namespace, &Digest::of(text.as_bytes()));
    check_id(id.as_str());
    assert!(id.as_str().parse::<ArtifactId>().is_ok_and(|read| read == id), "{id}");
    check_token(KeyToken::of_id(&id).as_str(), id.as_str());
}

fn check_id(text: &str) {
    let bytes = text.as_bytes();
    let legal = bytes.len() > 33 && {
        let (namespace, digits) = bytes.split_at(bytes.len() - 33);
        digits[0] == b'_'
            && digits[1..].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && std::str::from_utf8(namespace).is_ok_and(|namespace| Namespace::new(namespace).is_ok())
    };
    let id = text.parse::<ArtifactId>();
    assert_eq!(id.is_ok(), legal, "{text:?}");
    if let Ok(id) = id {
        assert_eq!(id.as_str(), text);
    }
}

fn check_digest(text: &str) {
    let legal = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let digest = text.parse::<Digest>();
    assert_eq!(digest.is_ok(), legal, "{text:?}");
    if let Ok(digest) = digest {
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    }
}

fn check_timestamp(text: &str) {
    let Ok(moment) = text.parse::<Timestamp>() else { return };
    let written = moment.to_string();
    assert!(written.len() == 27 && written.ends_with('Z'), "{text:?} reads as {written}");
    assert_eq!(written.parse::<Timestamp>().unwrap(), moment, "{text:?} reads as {written}");
    assert_eq!(Timestamp::from_micros(moment.as_micros()), moment);
}
