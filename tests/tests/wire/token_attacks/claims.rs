//! Valid signatures over claims that must not be accepted, and malformed tokens.

use artifact_store_tests::wire::{
    Request, ServerOptions, control, for_each_flavour, for_each_flavour_with, sign_token_with, signing_key,
    unix_time,
};
use serde_json::{Value, json};

use super::{
    Attack, CLAIMS, SHAPE, SIGNATURE, assert_all_rejected, assert_rejected, sign_with_server_key,
    token_with_claims,
};
use crate::ada;

#[test]
fn claims_of_a_wrong_type_or_time_let_nobody_in() {
    let header = json!({"alg": "ES256", "kid": signing_key().kid}).to_string();
    let (soon, long) = (unix_time() + 3600, "x".repeat(4096));
    let claims_and = |member: &str| {
        let claims = ada().claims().to_string();
        sign_with_server_key(&header, &format!("{{{member},{}", &claims[1..]))
    };
    let payload = |text: &str| sign_with_server_key(&header, text);
    let no_exp = |rest: &str| payload(&format!(r#"{{"tenant":"acme","user":"ada","session":"s"{rest}}}"#));
    let attacks: Vec<Attack> = vec![
        ("expired", token_with_claims(&json!({"exp": unix_time() - 3600})), "has expired"),
        ("expired in 1970", token_with_claims(&json!({"exp": 0})), "has expired"),
        ("expired before all time", token_with_claims(&json!({"exp": -1e300})), "has expired"),
        ("in milliseconds and past", token_with_claims(&json!({"exp": -1})), "has expired"),
        ("not yet valid", token_with_claims(&json!({"nbf": unix_time() + 3600})), "not valid yet"),
        ("valid after all time", token_with_claims(&json!({"nbf": 1e300})), "not valid yet"),
        ("no exp", no_exp(""), "no expiry"),
        ("an exp of another name", no_exp(&format!(r#","EXP":{soon}"#)), "no expiry"),
        ("a text as exp", token_with_claims(&json!({"exp": soon.to_string()})), CLAIMS),
        ("null as exp", token_with_claims(&json!({"exp": null})), CLAIMS),
        ("true as exp", token_with_claims(&json!({"exp": true})), CLAIMS),
        ("a list as exp", token_with_claims(&json!({"exp": [soon]})), CLAIMS),
        ("an object as exp", token_with_claims(&json!({"exp": {"$gt": 0}})), CLAIMS),
        ("an exp beyond all numbers", no_exp(r#","exp":1e999"#), CLAIMS),
        ("NaN as exp", no_exp(r#","exp":NaN"#), CLAIMS),
        ("a text as nbf", token_with_claims(&json!({"nbf": "0"})), CLAIMS),
        ("null as nbf", token_with_claims(&json!({"nbf": null})), CLAIMS),
        ("a number as tenant", token_with_claims(&json!({"tenant": 7})), CLAIMS),
        ("null as tenant", token_with_claims(&json!({"tenant": null})), CLAIMS),
        ("a list as tenant", token_with_claims(&json!({"tenant": ["acme"]})), CLAIMS),
        ("an object as user", token_with_claims(&json!({"user": {"name": "ada"}})), CLAIMS),
        ("true as session", token_with_claims(&json!({"session": true})), CLAIMS),
        ("a text as scopes", token_with_claims(&json!({"scopes": "admin"})), CLAIMS),
        ("an object as scopes", token_with_claims(&json!({"scopes": {"admin": true}})), CLAIMS),
        ("a list within scopes", token_with_claims(&json!({"scopes": [["admin"]]})), CLAIMS),
        ("null as scopes", token_with_claims(&json!({"scopes": null})), CLAIMS),
        ("a number as issuer", token_with_claims(&json!({"iss": 7})), CLAIMS),
        ("a number as audience", token_with_claims(&json!({"aud": 7})), CLAIMS),
        ("a number among audiences", token_with_claims(&json!({"aud": ["a", 7]})), CLAIMS),
        ("two tenants", claims_and(r#""tenant":"evil""#), CLAIMS),
        ("two users", claims_and(r#""user":"eve""#), CLAIMS),
        ("two scopes", claims_and(r#""scopes":["admin"]"#), CLAIMS),
        ("two exps", claims_and(r#""exp":1"#), CLAIMS),
        ("two tenants, one of them escaped", claims_and(r#""\u0074enant":"evil""#), CLAIMS),
        ("a payload that is a list", payload("[]"), CLAIMS),
        ("a list in the order of the claims", payload(&format!(r#"["acme","ada","s",[],{soon}]"#)), CLAIMS),
        ("a payload that is null", payload("null"), CLAIMS),
        ("no payload", payload(""), CLAIMS),
        ("two payloads", payload(&format!("{0}{0}", ada().claims())), CLAIMS),
        ("a payload of 4000 lists", payload(&format!(r#"{{"x":{}"#, "[".repeat(4000))), CLAIMS),
        ("a lone surrogate", claims_and(r#""x":"\ud800""#), ""),
        ("4 KiB of digits as exp", no_exp(&format!(r#","exp":{}"#, long.replace('x', "9"))), CLAIMS),
    ];
    let (fine, attacks): (Vec<_>, Vec<_>) = attacks.into_iter().partition(|(_, _, says)| says.is_empty());
    for_each_flavour(|server| {
        assert_all_rejected(server, &attacks);
        // Claims that the server does not know may have any value. It must only not fail on them.
        for (what, token, _) in &fine {
            let answer = control("runtime.info", &json!({})).bearer(token).send(server);
            assert!([200, 401].contains(&answer.status), "{what}: {answer:?}");
        }
    });
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let options =
        ServerOptions::new().set("identity.issuer", "https://id.example").set("identity.audience", "art");
    let right = json!({"iss": "https://id.example", "aud": "art"});
    let claims_but = |name: &str, value: Value| {
        let mut members = right.clone();
        members[name] = value;
        token_with_claims(&members)
    };
    let attacks: Vec<Attack> = vec![
        ("another audience", claims_but("aud", json!("other")), "(aud)"),
        ("an audience that starts the same", claims_but("aud", json!("art2")), "(aud)"),
        ("audiences in one text", claims_but("aud", json!("other art")), "(aud)"),
        ("no audience in a list", claims_but("aud", json!([])), "(aud)"),
        ("other audiences", claims_but("aud", json!(["a", "b"])), "(aud)"),
        ("no audience", token_with_claims(&json!({"iss": "https://id.example"})), "(aud)"),
        ("another issuer", claims_but("iss", json!("https://evil.example")), "(iss)"),
        ("an issuer that starts the same", claims_but("iss", json!("https://id.example.evil")), "(iss)"),
        ("no issuer", token_with_claims(&json!({"aud": "art"})), "(iss)"),
        ("a list as issuer", claims_but("iss", json!(["https://id.example"])), CLAIMS),
    ];
    for_each_flavour_with(&options, |server| {
        for attack in &attacks {
            assert_rejected(server, attack);
        }
        let good = token_with_claims(&right);
        control("runtime.info", &json!({})).bearer(&good).send(server).expect_json(200);
    });
}

#[test]
fn a_token_has_one_spelling_and_a_limited_length() {
    let good = ada().token();
    let parts: Vec<&str> = good.split('.').collect();
    // The last digit of a 64-byte signature has four unused bits.
    let last = good.bytes().next_back().unwrap();
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = digits[digits.iter().position(|digit| *digit == last).unwrap() ^ 1] as char;
    let other = sign_token_with(&signing_key().pem, Some(&signing_key().kid), &ada().with_admin().claims());
    let attacks: Vec<Attack> = vec![
        ("the same bytes, spelled otherwise", format!("{}{next}", &good[..good.len() - 1]), SHAPE),
        ("padding", format!("{good}=="), SHAPE),
        ("the other alphabet", format!("{}.{}.{}", parts[0], parts[1], "+/".repeat(43)), SHAPE),
        ("a space within", format!("{} {}", &good[..20], &good[20..]), SHAPE),
        ("two tokens", format!("{good}, {good}"), SHAPE),
        ("two tokens with their schemes", format!("{good}, Bearer {other}"), SHAPE),
        ("five parts, as if encrypted", format!("{good}.AA.AA"), SHAPE),
        (
            "as JSON",
            json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]}).to_string(),
            SHAPE,
        ),
        ("quoted", format!("\"{good}\""), SHAPE),
        (
            "a payload of somebody else's token",
            format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap(), parts[2]),
            SIGNATURE,
        ),
        ("all zeros as signature", format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)), SIGNATURE),
        (
            "a signature with a byte more",
            format!("{}.{}.{}AAA", parts[0], parts[1], &parts[2][..85]),
            SIGNATURE,
        ),
        ("17 KiB", format!("{good}{}", "A".repeat(17 << 10)), "longer than 16 KiB"),
        ("60 KiB", "A".repeat(60 << 10), "longer than 16 KiB"),
    ];
    for_each_flavour(|server| {
        assert_all_rejected(server, &attacks);
        // A mebibyte is more than a head may have, and is not read to its end.
        let huge = control("runtime.info", &json!({})).bearer("A".repeat(1 << 20)).send(server);
        assert_eq!((huge.status, huge.code().as_str()), (400, "invalid_request"), "{huge:?}");
        let huge = Request::get(format!("/v1/events?access_token={}", "A".repeat(1 << 20))).send(server);
        assert_eq!((huge.status, huge.code().as_str()), (400, "invalid_request"), "{huge:?}");
        control("runtime.info", &json!({})).identity(&ada()).send(server).expect_json(200);
    });
}

#[test]
fn two_authorization_headers_are_refused() {
    let (good, other) = (ada().token(), ada().with_admin().token());
    for_each_flavour(|server| {
        for (first, second) in [
            (format!("Bearer {good}"), format!("Bearer {good}")),
            (format!("Bearer {good}"), format!("Bearer {other}")),
            (format!("Bearer {good}"), "Bearer x".into()),
            ("Bearer x".into(), format!("Bearer {good}")),
            ("Basic YWRhOmFkYQ==".into(), format!("Bearer {good}")),
            (format!("Bearer {good}"), String::new()),
        ] {
            let request = control("runtime.info", &json!({}))
                .header("Authorization", first.as_str())
                .header("authorization", second.as_str());
            let message = request.send(server).expect_refusal("auth_rejected");
            assert!(message.contains("more than one Authorization header"), "{message}");
        }
        // A valid token in the query does not replace an invalid header. Only the event stream reads a token from the
        // query.
        let events = format!("/v1/events?access_token={good}");
        Request::get(events.as_str()).bearer("x.y.z").send(server).expect_refusal("auth_rejected");
        let info = Request::new("POST", format!("/v1/control/runtime.info?access_token={good}"));
        assert!(info.send(server).status >= 400, "a token in the query of another route");
    });
}
