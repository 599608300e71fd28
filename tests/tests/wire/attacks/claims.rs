//! Sound signatures over what should let nobody in, and tokens of a doubtful shape.

use artifact_store_tests::wire::{
    Options, Request, control, keys, now, on_every_driver, on_every_driver_with, signed_with,
};
use serde_json::{Value, json};

use super::{Attack, CLAIMS, SHAPE, SIGNATURE, all, claiming, refused, sound};
use crate::ada;

#[test]
fn claims_of_a_wrong_type_or_time_let_nobody_in() {
    let header = json!({"alg": "ES256", "kid": keys().kid}).to_string();
    let (soon, long) = (now() + 3600, "x".repeat(4096));
    let also = |member: &str| {
        let claims = ada().claims().to_string();
        sound(&header, &format!("{{{member},{}", &claims[1..]))
    };
    let payload = |text: &str| sound(&header, text);
    let no_exp = |rest: &str| payload(&format!(r#"{{"tenant":"acme","user":"ada","session":"s"{rest}}}"#));
    let attacks: Vec<Attack> = vec![
        ("expired", claiming(&json!({"exp": now() - 3600})), "has expired"),
        ("expired in 1970", claiming(&json!({"exp": 0})), "has expired"),
        ("expired before all time", claiming(&json!({"exp": -1e300})), "has expired"),
        ("in milliseconds and past", claiming(&json!({"exp": -1})), "has expired"),
        ("not yet valid", claiming(&json!({"nbf": now() + 3600})), "not valid yet"),
        ("valid after all time", claiming(&json!({"nbf": 1e300})), "not valid yet"),
        ("no exp", no_exp(""), "no expiry"),
        ("an exp of another name", no_exp(&format!(r#","EXP":{soon}"#)), "no expiry"),
        ("a text as exp", claiming(&json!({"exp": soon.to_string()})), CLAIMS),
        ("null as exp", claiming(&json!({"exp": null})), CLAIMS),
        ("true as exp", claiming(&json!({"exp": true})), CLAIMS),
        ("a list as exp", claiming(&json!({"exp": [soon]})), CLAIMS),
        ("an object as exp", claiming(&json!({"exp": {"$gt": 0}})), CLAIMS),
        ("an exp beyond all numbers", no_exp(r#","exp":1e999"#), CLAIMS),
        ("NaN as exp", no_exp(r#","exp":NaN"#), CLAIMS),
        ("a text as nbf", claiming(&json!({"nbf": "0"})), CLAIMS),
        ("null as nbf", claiming(&json!({"nbf": null})), CLAIMS),
        ("a number as tenant", claiming(&json!({"tenant": 7})), CLAIMS),
        ("null as tenant", claiming(&json!({"tenant": null})), CLAIMS),
        ("a list as tenant", claiming(&json!({"tenant": ["acme"]})), CLAIMS),
        ("an object as user", claiming(&json!({"user": {"name": "ada"}})), CLAIMS),
        ("true as session", claiming(&json!({"session": true})), CLAIMS),
        ("a text as scopes", claiming(&json!({"scopes": "admin"})), CLAIMS),
        ("an object as scopes", claiming(&json!({"scopes": {"admin": true}})), CLAIMS),
        ("a list within scopes", claiming(&json!({"scopes": [["admin"]]})), CLAIMS),
        ("null as scopes", claiming(&json!({"scopes": null})), CLAIMS),
        ("a number as issuer", claiming(&json!({"iss": 7})), CLAIMS),
        ("a number as audience", claiming(&json!({"aud": 7})), CLAIMS),
        ("a number among audiences", claiming(&json!({"aud": ["a", 7]})), CLAIMS),
        ("two tenants", also(r#""tenant":"evil""#), CLAIMS),
        ("two users", also(r#""user":"eve""#), CLAIMS),
        ("two scopes", also(r#""scopes":["admin"]"#), CLAIMS),
        ("two exps", also(r#""exp":1"#), CLAIMS),
        ("two tenants, one of them escaped", also(r#""\u0074enant":"evil""#), CLAIMS),
        ("a payload that is a list", payload("[]"), CLAIMS),
        ("a list in the order of the claims", payload(&format!(r#"["acme","ada","s",[],{soon}]"#)), CLAIMS),
        ("a payload that is null", payload("null"), CLAIMS),
        ("no payload", payload(""), CLAIMS),
        ("two payloads", payload(&format!("{0}{0}", ada().claims())), CLAIMS),
        ("a payload of 4000 lists", payload(&format!(r#"{{"x":{}"#, "[".repeat(4000))), CLAIMS),
        ("a lone surrogate", also(r#""x":"\ud800""#), ""),
        ("4 KiB of digits as exp", no_exp(&format!(r#","exp":{}"#, long.replace('x', "9"))), CLAIMS),
    ];
    let (fine, attacks): (Vec<_>, Vec<_>) = attacks.into_iter().partition(|(_, _, says)| says.is_empty());
    on_every_driver(|server| {
        all(server, &attacks);
        // What no claim of ours is may be anything; that the server is not thrown by it is enough.
        for (what, token, _) in &fine {
            let answer = control("runtime.info", &json!({})).bearer(token).send(server);
            assert!([200, 401].contains(&answer.status), "{what}: {answer:?}");
        }
    });
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let options = Options::new().set("identity.issuer", "https://id.example").set("identity.audience", "art");
    let right = json!({"iss": "https://id.example", "aud": "art"});
    let but = |name: &str, value: Value| {
        let mut members = right.clone();
        members[name] = value;
        claiming(&members)
    };
    let attacks: Vec<Attack> = vec![
        ("another audience", but("aud", json!("other")), "(aud)"),
        ("an audience that starts the same", but("aud", json!("art2")), "(aud)"),
        ("audiences in one text", but("aud", json!("other art")), "(aud)"),
        ("no audience in a list", but("aud", json!([])), "(aud)"),
        ("other audiences", but("aud", json!(["a", "b"])), "(aud)"),
        ("no audience", claiming(&json!({"iss": "https://id.example"})), "(aud)"),
        ("another issuer", but("iss", json!("https://evil.example")), "(iss)"),
        ("an issuer that starts the same", but("iss", json!("https://id.example.evil")), "(iss)"),
        ("no issuer", claiming(&json!({"aud": "art"})), "(iss)"),
        ("a list as issuer", but("iss", json!(["https://id.example"])), CLAIMS),
    ];
    on_every_driver_with(&options, |server| {
        for attack in &attacks {
            refused(server, attack);
        }
        let good = claiming(&right);
        control("runtime.info", &json!({})).bearer(&good).send(server).ok(200);
    });
}

#[test]
fn a_token_has_one_spelling_and_a_bounded_length() {
    let good = ada().token();
    let parts: Vec<&str> = good.split('.').collect();
    // The last digit of a signature of 64 bytes carries four bits that say nothing.
    let last = good.bytes().next_back().unwrap();
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = digits[digits.iter().position(|digit| *digit == last).unwrap() ^ 1] as char;
    let other = signed_with(&keys().pem, Some(&keys().kid), &ada().admin().claims());
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
    on_every_driver(|server| {
        all(server, &attacks);
        // A mebibyte is more than a head may have, and is not read to its end.
        let huge = control("runtime.info", &json!({})).bearer("A".repeat(1 << 20)).send(server);
        assert_eq!((huge.status, huge.code().as_str()), (400, "invalid_request"), "{huge:?}");
        let huge = Request::get(format!("/v1/events?access_token={}", "A".repeat(1 << 20))).send(server);
        assert_eq!((huge.status, huge.code().as_str()), (400, "invalid_request"), "{huge:?}");
        control("runtime.info", &json!({})).by(&ada()).send(server).ok(200);
    });
}

#[test]
fn two_authorizations_are_none() {
    let (good, other) = (ada().token(), ada().admin().token());
    on_every_driver(|server| {
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
            let said = request.send(server).refused("auth_rejected");
            assert!(said.contains("more than one Authorization header"), "{said}");
        }
        // A good token in the query does not mend a bad header, nor is it looked at anywhere but on the event stream.
        let events = format!("/v1/events?access_token={good}");
        Request::get(events.as_str()).bearer("x.y.z").send(server).refused("auth_rejected");
        let info = Request::new("POST", format!("/v1/control/runtime.info?access_token={good}"));
        assert!(info.send(server).status >= 400, "a token in the query of another route");
    });
}
