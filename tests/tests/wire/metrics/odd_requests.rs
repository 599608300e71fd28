//! Ten thousand odd requests: unexpected paths, methods, headers, tokens and names.

use std::collections::BTreeSet;
use std::thread;

use artifact_store_protocol::{Code, Method};
use artifact_store_server::ROUTES;
use artifact_store_tests::corpus::choice;
use artifact_store_tests::wire::{
    Connection, Flavour, Identity, Request, Server, ServerOptions, control, put,
};
use serde_json::json;

use super::{OPENMETRICS, scrape};

/// Contained in every name that is made up here, and nowhere else.
const MARK: &str = "zanzibar";
const CLIENTS: u64 = 4;
const REQUESTS: u64 = 10_000;
/// The methods that HTTP defines.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

/// An odd request, and whether it is HEAD.
fn odd_request(number: u64) -> (Request, bool) {
    let pick =
        |salt: u64, bound: usize| usize::try_from(choice(number ^ (salt << 32), bound as u64)).unwrap();
    let name = format!("{MARK}-{number}");
    let identity = Identity::new(&format!("{MARK}-{}", pick(1, 40)), MARK, MARK);
    let identity = if pick(2, 4) == 0 { identity.with_admin() } else { identity };
    let verb = match pick(3, 3) {
        0 => format!("{}{number}", MARK.to_uppercase()),
        _ => METHODS[pick(4, METHODS.len())].to_owned(),
    };
    let verb = if verb == "CONNECT" { "TRACE".to_owned() } else { verb };
    let path = match pick(5, 4) {
        0 => format!("/{name}"),
        1 => format!("/v1/artifacts/{name}?task={name}"),
        2 => ROUTES[pick(6, ROUTES.len())].path.replace("{id}", &name).replace("{method}", &name),
        _ => {
            format!("{}?{name}={name}", ROUTES[pick(6, ROUTES.len())].path.replace(['{', '}'], ""))
        }
    };
    let request = match pick(7, 8) {
        0 => put(&format!("?filename={name}&tag={name}&namespace={MARK}.{number}&task={name}"), name.clone())
            .identity(&identity),
        1 => {
            control(Method::ALL[pick(8, Method::ALL.len())].name(), &json!({"id": name})).identity(&identity)
        }
        2 => control(&name, &json!({"scope": {"tenant": name, "user": name, "session": name}}))
            .identity(&identity),
        3 => Request::get(format!("/v1/artifacts/default_{:032x}", choice(number, u64::MAX)))
            .identity(&identity),
        4 => Request::new(&verb, path).bearer(&name),
        5 => Request::new(&verb, path).identity(&identity),
        6 => Request::new(&verb, path)
            .header("X-Harbor-Session", &name)
            .header("Accept", OPENMETRICS)
            .identity(&identity),
        _ => Request::new(&verb, path).header(&name, &name).header("Range", format!("bytes={number}-")),
    };
    // The caller needs to know whether the response has a body.
    let head = format!("{request:?}").starts_with("HEAD ");
    (request, head)
}

/// Sends this client's share of [`REQUESTS`] requests, starting with this number.
fn send_share(server: &Server, client: u64, from: u64) {
    let mut connection = Connection::open(server.addr());
    for number in (from..from + REQUESTS).filter(|number| number % CLIENTS == client) {
        let (request, head) = odd_request(number);
        if format!("{request:?}").starts_with("GET /v1/events") {
            continue;
        }
        request.write(&mut connection);
        connection = match connection.try_read_response(head) {
            Some((answer, open)) if answer.header("connection") != Some("close") => open,
            _ => Connection::open(server.addr()),
        };
    }
}

#[test]
fn ten_thousand_odd_requests_add_few_series_and_none_of_their_names() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || send_share(server, client, 0));
        }
    });
    let answer = Request::get("/metrics").send(&server);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(!text.to_lowercase().contains(MARK), "a made-up name is in the metrics");
    assert!(!text.contains("default_"), "an id is in the metrics");
    assert!(text.len() < 1 << 20, "the metrics have {} bytes", text.len());

    let now = scrape(server.addr());
    let counted: f64 = now
        .monotonic_samples()
        .filter(|(sample, _)| sample.starts_with("artifactd_http_requests_total{"))
        .map(|(_, count)| count)
        .sum();
    assert!(counted >= 9_000.0, "only {counted} were counted");

    // Every label value comes from a closed table. So the number of series is at most the product of the table sizes.
    let values_of = |label: &str| {
        now.labels.get(label).into_iter().flatten().map(String::as_str).collect::<BTreeSet<_>>()
    };
    let assert_among = |label: &str, known: &BTreeSet<&str>| {
        let odd: Vec<_> = values_of(label).into_iter().filter(|value| !known.contains(value)).collect();
        assert!(odd.is_empty(), "{label} has {odd:?}");
    };
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| route.path).chain(["other"]).collect();
    let controls: BTreeSet<_> = Method::ALL.iter().map(|method| method.name()).chain([""]).collect();
    let methods: BTreeSet<_> = METHODS.into_iter().chain(["other"]).collect();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).chain([""]).collect();
    let statuses = [
        "200", "201", "206", "304", "400", "401", "403", "404", "412", "413", "416", "422", "429", "500",
        "501", "503", "other", "none",
    ];
    assert_among("route", &routes);
    assert_among("control", &controls);
    assert_among("method", &methods);
    assert_among("code", &codes);
    assert_among("status", &statuses.into_iter().collect());
    assert_among("driver", &["inmem"].into_iter().collect());
    assert_among("result", &BTreeSet::from(["busy", "failed", "ok"]));
    let expected = [
        "code", "commit", "control", "driver", "kind", "le", "method", "outcome", "reason", "route", "state",
        "result", "status", "verb", "version",
    ];
    let labels: Vec<_> = now.labels.keys().map(String::as_str).collect();
    assert!(labels.iter().all(|label| expected.contains(label)), "{labels:?}");

    // More requests with other names add almost no series.
    let before: BTreeSet<_> = now.samples.keys().cloned().collect();
    send_share(&server, 0, REQUESTS);
    let after: BTreeSet<_> = scrape(server.addr()).samples.into_keys().collect();
    assert!(after.len() <= before.len() + 100, "{:?}", after.difference(&before).collect::<Vec<_>>());
    assert!(after.len() < 3000, "{} series", after.len());
}
