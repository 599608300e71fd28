//! The keys of positions sort as listings do, and never change.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use artifact_store_core::{ArtifactId, Digest, Namespace, Position, Scope, ScopeMark, Timestamp};
use data_encoding::HEXLOWER;
use proptest::prelude::*;

fn position(micros: i64, namespace: &str, bytes: &[u8], user: &str) -> Position {
    Position {
        created_at: Timestamp::from_micros(micros),
        id: ArtifactId::new(&Namespace::new(namespace).unwrap(), &Digest::of(bytes)),
        scope_mark: ScopeMark::of(&Scope::new("acme", user, "s-1").unwrap()),
    }
}

/// Positions with few different times, namespaces, bytes and scopes, so that ties are frequent. One namespace has the
/// text of an id, so that an id can begin another id.
fn any_position() -> impl Strategy<Value = Position> {
    let micros = prop_oneof![
        prop::sample::select(vec![i64::MIN, -1_000_001, -1, 0, 1, 255, 256, 1_767_323_045_000_006, i64::MAX]),
        any::<i64>(),
    ];
    let long_name = format!("default_{}", &Digest::of(b"1").to_hex()[..32]);
    let longest_name = "n".repeat(128);
    let namespace =
        prop::sample::select(vec!["default".into(), "default_".into(), "-".into(), long_name, longest_name]);
    (micros, namespace, "[0-9]", "[a-c]")
        .prop_map(|(micros, namespace, bytes, user)| position(micros, &namespace, bytes.as_bytes(), &user))
}

/// Storages keep these keys. If the format changes, the listings of existing storages are out of order.
#[test]
fn a_sort_key_never_changes() {
    let key = position(1_767_323_045_000_006, "default", b"", "ada").sort_key();
    assert_eq!(
        HEXLOWER.encode(&key),
        "7ff9b8a109b30cb964656661756c745f6533623063343432393866633163313439616662663463383939366662393234007f0dd9f560ceb5089856fcdba9ac5e08"
    );
    let before_the_epoch = position(-1, "default", b"", "ada").sort_key();
    assert_eq!(HEXLOWER.encode(&before_the_epoch[..8]), "8000000000000000");
}

#[test]
fn a_sort_key_is_as_long_as_its_page_says() {
    assert_eq!(position(0, "a", b"", "ada").sort_key().len(), 59);
    assert_eq!(position(0, &"n".repeat(128), b"", "ada").sort_key().len(), 186);
}

/// The scope mark, which follows the id in the key, must not change this order.
#[test]
fn an_id_sorts_before_every_id_that_it_begins() {
    let namespace = format!("default_{}", &Digest::of(b"1").to_hex()[..32]);
    for user in 0..64 {
        let short = position(0, "default", b"1", &user.to_string());
        let long = position(0, &namespace, b"2", "ada");
        assert!(long.id.as_str().starts_with(short.id.as_str()));
        assert!(short.sort_key() < long.sort_key() && short < long, "user {user}");
    }
}

proptest! {
    #[test]
    fn sort_keys_compare_as_their_positions(one in any_position(), other in any_position()) {
        prop_assert_eq!(one.sort_key().cmp(&other.sort_key()), one.cmp(&other));
    }

    #[test]
    fn no_sort_key_begins_another(one in any_position(), other in any_position()) {
        prop_assert_eq!(one.sort_key().starts_with(&other.sort_key()), one == other);
    }
}
