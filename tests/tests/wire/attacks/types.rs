//! Sound signatures over tokens that are no access tokens (RFC 8725 §3.11).

use artifact_store_tests::wire::{Options, control, on_every_driver, on_every_driver_with};
use serde_json::json;

use super::{Attack, all, headed};

const TYPE: &str = "is of another type (typ)";

#[test]
fn a_token_of_another_type_than_an_access_token_lets_nobody_in() {
    let attacks: Vec<Attack> = vec![
        ("a logout token", headed(&json!({"typ": "logout+jwt"})), TYPE),
        ("a security event", headed(&json!({"typ": "secevent+jwt"})), TYPE),
        ("a proof of possession", headed(&json!({"typ": "dpop+jwt"})), TYPE),
        ("an id token by name", headed(&json!({"typ": "id+jwt"})), TYPE),
        ("an empty type", headed(&json!({"typ": ""})), TYPE),
        ("a type with a space", headed(&json!({"typ": "JWT "})), TYPE),
        ("a type with a parameter", headed(&json!({"typ": "at+jwt;x=y"})), TYPE),
        ("another tree", headed(&json!({"typ": "text/at+jwt"})), TYPE),
        ("null as type", headed(&json!({"typ": null})), super::SHAPE),
        ("a list of types", headed(&json!({"typ": ["JWT"]})), super::SHAPE),
        ("a payload that is not encoded", headed(&json!({"b64": false})), "not encoded (b64)"),
        ("the same, critical", headed(&json!({"b64": false, "crit": ["b64"]})), "critical header extensions"),
        ("a text as b64", headed(&json!({"b64": "false"})), super::SHAPE),
    ];
    on_every_driver(|server| all(server, &attacks));
}

#[test]
fn an_access_token_may_name_its_type_in_either_case() {
    on_every_driver(|server| {
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
            let token = headed(&json!({"typ": typ, "b64": true}));
            control("runtime.info", &json!({})).bearer(token).send(server).ok(200);
        }
    });
}

#[test]
fn more_types_are_taken_where_they_are_configured() {
    let options = Options::new().set("identity.jwt_types", json!(["harbor+jwt", "application/x+jwt"]));
    on_every_driver_with(&options, |server| {
        for typ in ["harbor+jwt", "Harbor+JWT", "application/x+jwt", "JWT"] {
            let token = headed(&json!({"typ": typ}));
            control("runtime.info", &json!({})).bearer(token).send(server).ok(200);
        }
        all(server, &[("a logout token", headed(&json!({"typ": "logout+jwt"})), TYPE)]);
    });
}
