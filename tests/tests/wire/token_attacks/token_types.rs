//! Valid signatures over tokens that are not access tokens (RFC 8725 §3.11).

use artifact_store_tests::wire::{ServerOptions, control, for_each_flavour, for_each_flavour_with};
use serde_json::json;

use super::{Attack, assert_all_rejected, token_with_header};

const TYPE: &str = "is of another type (typ)";

#[test]
fn a_token_of_another_type_than_an_access_token_lets_nobody_in() {
    let attacks: Vec<Attack> = vec![
        ("a logout token", token_with_header(&json!({"typ": "logout+jwt"})), TYPE),
        ("a security event", token_with_header(&json!({"typ": "secevent+jwt"})), TYPE),
        ("a proof of possession", token_with_header(&json!({"typ": "dpop+jwt"})), TYPE),
        ("an id token by name", token_with_header(&json!({"typ": "id+jwt"})), TYPE),
        ("an empty type", token_with_header(&json!({"typ": ""})), TYPE),
        ("a type with a space", token_with_header(&json!({"typ": "JWT "})), TYPE),
        ("a type with a parameter", token_with_header(&json!({"typ": "at+jwt;x=y"})), TYPE),
        ("another tree", token_with_header(&json!({"typ": "text/at+jwt"})), TYPE),
        ("null as type", token_with_header(&json!({"typ": null})), super::SHAPE),
        ("a list of types", token_with_header(&json!({"typ": ["JWT"]})), super::SHAPE),
        ("a payload that is not encoded", token_with_header(&json!({"b64": false})), "not encoded (b64)"),
        (
            "the same, critical",
            token_with_header(&json!({"b64": false, "crit": ["b64"]})),
            "critical header extensions",
        ),
        ("a text as b64", token_with_header(&json!({"b64": "false"})), super::SHAPE),
    ];
    for_each_flavour(|server| assert_all_rejected(server, &attacks));
}

#[test]
fn an_access_token_may_name_its_type_in_either_case() {
    for_each_flavour(|server| {
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
            let token = token_with_header(&json!({"typ": typ, "b64": true}));
            control("runtime.info", &json!({})).bearer(token).send(server).expect_json(200);
        }
    });
}

#[test]
fn more_token_types_are_accepted_if_configured() {
    let options = ServerOptions::new().set("identity.jwt_types", json!(["harbor+jwt", "application/x+jwt"]));
    for_each_flavour_with(&options, |server| {
        for typ in ["harbor+jwt", "Harbor+JWT", "application/x+jwt", "JWT"] {
            let token = token_with_header(&json!({"typ": typ}));
            control("runtime.info", &json!({})).bearer(token).send(server).expect_json(200);
        }
        assert_all_rejected(
            server,
            &[("a logout token", token_with_header(&json!({"typ": "logout+jwt"})), TYPE)],
        );
    });
}
