//! `GET /metrics`: every metric changes as its name says. Whatever clients send, the output stays small and contains
//! nothing of it.
#![allow(clippy::float_cmp)] // Counts are exact.

mod measured_store;
mod odd_requests;
mod text_format;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, Gate, GateOptions};
use artifact_store_inmem::{InmemConfig, InmemStore};
use artifact_store_resolver::ResolverOptions;
use artifact_store_tests::server_host::ServerHost;
use artifact_store_tests::wire::{
    Connection, EventStream, Flavour, Identity, Request, Server, ServerOptions, control, for_each_flavour,
    put, signing_key,
};
use serde_json::json;

use self::text_format::{FamilyKind, Metrics, parse_metrics};
use crate::ada;

/// The `Accept` header of an `OpenMetrics` client.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// The current metrics.
fn scrape(addr: SocketAddr) -> Metrics {
    let answer = Request::get("/metrics").send_to(addr);
    assert_eq!(answer.status, 200, "{answer:?}");
    parse_metrics(&String::from_utf8(answer.body).unwrap(), false)
}

/// Waits until `condition` is true. A request is counted after its response was sent, which is a little after the
/// client has received it.
#[track_caller]
fn wait_until(addr: SocketAddr, what: &str, condition: impl Fn(&Metrics) -> bool) -> Metrics {
    let begun = Instant::now();
    loop {
        let now = scrape(addr);
        if condition(&now) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {:#?}", now.samples);
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until each of these samples has grown by the given amount since `before`, and checks that it has not grown
/// by more.
#[track_caller]
fn assert_growth(addr: SocketAddr, before: &Metrics, by: &[(&str, f64)]) -> Metrics {
    let grown = |now: &Metrics, sample: &str| now.value(sample) - before.value(sample);
    let now =
        wait_until(addr, &format!("{by:?}"), |now| by.iter().all(|(sample, by)| grown(now, sample) >= *by));
    for (sample, by) in by {
        assert!((grown(&now, sample) - by).abs() < 0.5, "{sample} grew by {}, not {by}", grown(&now, sample));
    }
    now
}

fn requests_sample(route: &str, control: &str, method: &str, status: &str, code: &str) -> String {
    format!(
        "artifactd_http_requests_total{{route=\"{route}\",control=\"{control}\",method=\"{method}\",status=\"{status}\",code=\"{code}\"}}"
    )
}

#[test]
fn metrics_answer_anybody_in_the_format_that_is_asked_for() {
    for_each_flavour(|server| {
        // Letters, which cannot occur in a number by chance.
        let who = Identity::new("zanzibar-t", "zanzibar-u", "zanzibar-s");
        let opts = json!({"filename": "zanzibar.txt", "tags": ["zanzibar"], "namespace": "zanzibar"});
        server.store(&who, b"zanzibar", &opts);
        server.call(&who, "artifacts.get", &json!({"id": "zanzibar_1"})).expect_refusal("not_found");
        let classic = Request::get("/metrics").send(server);
        assert_eq!(classic.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(classic.header("cache-control"), Some("no-store"));
        assert_eq!(classic.header("vary"), Some("accept"));
        let text = String::from_utf8(classic.body).unwrap();
        assert!(!text.contains("zanzibar"), "{text}");
        let classic = parse_metrics(&text, false);
        let open = Request::get("/metrics").header("Accept", OPENMETRICS).send(server);
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!((open.status, open.header("content-type")), (200, Some(kind)));
        let open = parse_metrics(&String::from_utf8(open.body).unwrap(), true);
        let names = |metrics: &Metrics| -> Vec<String> {
            metrics.families.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&classic), names(&open));
        let head = Request::new("HEAD", "/metrics").send(server);
        assert_eq!((head.status, head.body.len()), (200, 0));
        Request::get("/metrics?colour=red").send(server).expect_refusal("invalid_request");
        Request::new("POST", "/metrics").send(server).expect_refusal("unknown_method");
    });
}

#[test]
fn every_family_of_requests_and_of_the_store_moves_as_its_name_says() {
    for_each_flavour(|server| {
        let (addr, driver) = (server.addr(), server.driver());
        let call = |verb: &str, outcome: &str| {
            format!(
                "artifactd_store_calls_total{{driver=\"{driver}\",verb=\"{verb}\",outcome=\"{outcome}\"}}"
            )
        };
        let (read_bytes, written_bytes) = (
            format!("artifactd_store_read_bytes_total{{driver=\"{driver}\"}}"),
            format!("artifactd_store_written_bytes_total{{driver=\"{driver}\"}}"),
        );
        let bytes = vec![7; 300_000];

        let before = scrape(addr);
        let stored = put("", bytes.clone()).identity(&ada()).send(server).expect_json(201);
        let id = stored["ref"]["id"].as_str().unwrap().to_owned();
        let (put_created, duration) = (
            requests_sample("/v1/artifacts", "", "PUT", "201", ""),
            "artifactd_http_request_duration_seconds_count{route=\"/v1/artifacts\",control=\"\",method=\"PUT\"}",
        );
        let before = assert_growth(
            addr,
            &before,
            &[
                (&put_created, 1.0),
                (duration, 1.0),
                ("artifactd_http_request_body_bytes_total", 300_000.0),
                (&call("put", "ok"), 1.0),
                (
                    &format!(
                        "artifactd_store_call_duration_seconds_count{{driver=\"{driver}\",verb=\"put\"}}"
                    ),
                    1.0,
                ),
                (&written_bytes, 300_000.0),
            ],
        );

        // The same bytes again: nothing is written.
        put("", bytes.clone()).identity(&ada()).send(server).expect_json(200);
        let put_again = requests_sample("/v1/artifacts", "", "PUT", "200", "");
        let before = assert_growth(
            addr,
            &before,
            &[(&put_again, 1.0), (&call("put", "ok"), 1.0), (&written_bytes, 0.0)],
        );

        let path = format!("/v1/artifacts/{id}");
        Request::get(&path).identity(&ada()).send(server).expect_bytes(&bytes);
        let route = "/v1/artifacts/{id}";
        let got = requests_sample(route, "", "GET", "200", "");
        let now =
            assert_growth(addr, &before, &[(&got, 1.0), (&call("get", "ok"), 1.0), (&read_bytes, 300_000.0)]);
        let sent = "artifactd_http_response_body_bytes_total";
        assert!(now.value(sent) - before.value(sent) >= 300_000.0, "{}", now.value(sent));

        let missing = "/v1/artifacts/default_00000000000000000000000000000000";
        Request::get(missing).identity(&ada()).send(server).expect_refusal("not_found");
        Request::get(&path)
            .header("Range", "bytes=999999-")
            .identity(&ada())
            .send(server)
            .expect_refusal("invalid_request");
        Request::get(&path).send(server).expect_refusal("identity_required");
        let before = assert_growth(
            addr,
            &now,
            &[
                (&requests_sample(route, "", "GET", "404", "not_found"), 1.0),
                (&requests_sample(route, "", "GET", "416", "invalid_request"), 1.0),
                (&requests_sample(route, "", "GET", "401", "identity_required"), 1.0),
                (&call("get", "not_found"), 1.0),
            ],
        );

        server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).expect_json(200);
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).expect_refusal("not_found");
        server.call(&ada(), "start", &json!({})).expect_refusal("unknown_method");
        Request::get("/nowhere").send(server).expect_refusal("unknown_method");
        let control = "/v1/control/{method}";
        assert_growth(
            addr,
            &before,
            &[
                (&requests_sample(control, "artifacts.list", "POST", "200", ""), 1.0),
                (&requests_sample(control, "artifacts.delete", "POST", "200", ""), 1.0),
                (&requests_sample(control, "artifacts.delete", "POST", "404", "not_found"), 1.0),
                (&requests_sample(control, "", "POST", "404", "unknown_method"), 1.0),
                (&requests_sample("other", "", "GET", "404", "unknown_method"), 1.0),
                (&call("list", "ok"), 1.0),
                (&call("delete", "ok"), 1.0),
                (&call("delete", "not_found"), 1.0),
            ],
        );
    });
}

#[test]
fn connections_requests_in_flight_and_event_streams_are_counted_while_they_last() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let addr = server.addr();
    let (open, accepted) = ("artifactd_connections_open", "artifactd_connections_accepted_total");
    let (in_flight, streams) = ("artifactd_http_requests_in_flight", "artifactd_event_streams_open");
    // The scrape itself is one connection and one request.
    let alone = wait_until(addr, "alone", |now| now.value(open) <= 1.0 && now.value(in_flight) <= 1.0);
    assert_eq!(alone.value(streams), 0.0);

    let idle: Vec<_> = (0..3).map(|_| Connection::open(addr)).collect();
    let mut half = Connection::open(addr);
    half.send(&put("", "").identity(&ada()).head(Some(10)));
    half.send(b"half ");
    let stream = EventStream::open(&server, &Request::get("/v1/events").identity(&ada()));
    // For a moment the connection of the scrape before can be open, too.
    let now = wait_until(addr, "three idle, one upload, one stream, and the scrape", |now| {
        (now.value(open), now.value(in_flight), now.value(streams)) == (6.0, 2.0, 1.0)
    });
    assert!(now.value(accepted) >= 6.0);
    // A stream is counted when it begins.
    assert_eq!(now.value(&requests_sample("/v1/events", "", "GET", "200", "")), 1.0);
    server.store_id(&ada(), b"told");
    assert_growth(addr, &now, &[("artifactd_event_stream_events_total", 1.0)]);

    drop((idle, half, stream));
    let now = wait_until(addr, "all are gone", |now| {
        now.value(open) <= 1.0 && now.value(in_flight) <= 1.0 && now.value(streams) <= 0.0
    });
    assert!(now.value(accepted) > now.value(open));
    // The interrupted upload is counted as cut, and the stream is not.
    assert_eq!(now.value("artifactd_http_responses_cut_total"), 1.0);
}

#[test]
fn a_gap_that_is_reported_to_a_subscriber_is_counted() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let request = Request::get("/v1/events").header("Last-Event-ID", "gone").identity(&ada());
    let _stream = EventStream::open(&server, &request);
    let now = wait_until(server.addr(), "a gap", |now| now.value("artifactd_event_stream_gaps_total") >= 1.0);
    assert_eq!(now.value("artifactd_event_stream_drops_total"), 0.0);
}

#[test]
fn refreshes_of_the_keys_are_counted_as_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let good = std::fs::read_to_string(signing_key().jwks()).unwrap();
    std::fs::write(&file, &good).unwrap();
    let options = ServerOptions::new().set("identity.jwks_file", file.to_str().unwrap());
    let server = Server::start(Flavour::Inmem, &options);
    let (done, failed) = ("artifactd_jwks_refreshes_total", "artifactd_jwks_refresh_failures_total");
    let now = scrape(server.addr());
    assert_eq!((now.value(done), now.value(failed)), (0.0, 0.0));
    std::fs::write(&file, "no set of keys").unwrap();
    wait_until(server.addr(), "a failure", |now| now.value(failed) >= 1.0);
    std::fs::write(&file, good + " ").unwrap();
    let now = wait_until(server.addr(), "a refresh", |now| now.value(done) >= 1.0);
    assert!(now.value(failed) >= 1.0);
}

#[test]
fn metrics_of_the_process_and_the_build_are_reported() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let now = scrape(server.addr());
    let version = env!("CARGO_PKG_VERSION");
    let build = now.samples.keys().find(|sample| sample.starts_with("artifactd_build_info{")).unwrap();
    assert!(build.contains(&format!("version=\"{version}\"")) && build.contains("commit=\""), "{build}");
    assert!((1.0..1000.0).contains(&now.value("process_threads")), "{:?}", now.samples);
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = since_1970 - now.value("process_start_time_seconds");
    // The kernel's clock and the clock of the test may differ by a few seconds.
    assert!((-10.0..3600.0).contains(&age), "{age}");
    assert!((1e6..1e10).contains(&now.value("process_resident_memory_bytes")), "{:?}", now.samples);
    assert!(now.value("process_virtual_memory_bytes") >= now.value("process_resident_memory_bytes"));
    assert!(now.value("process_cpu_seconds_total") >= 0.0);
    let fds = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    #[allow(clippy::cast_precision_loss)]
    let difference = (now.value("process_open_fds") - fds as f64).abs();
    assert!(difference < 20.0, "{} is not {fds}", now.value("process_open_fds"));
    assert!(now.value("process_max_fds") >= now.value("process_open_fds"));
}

#[test]
fn metrics_answer_while_the_store_is_down_and_say_how_its_calls_end() {
    let host = ServerHost::new();
    let bare: Arc<dyn ArtifactStore> = Arc::new(InmemStore::new(InmemConfig::new()));
    let gate = Gate::new(Arc::clone(&bare), GateOptions::default()).unwrap();
    let addr = host.serve(Arc::new(gate), ResolverOptions::default());
    host.block_on(bare.close()).unwrap();
    Request::get("/readyz").send_to(addr).expect_refusal("runtime_error");
    put("", "bytes").identity(&ada()).send_to(addr).expect_refusal("runtime_error");
    let call = |verb: &str| {
        format!("artifactd_store_calls_total{{driver=\"inmem\",verb=\"{verb}\",outcome=\"closed\"}}")
    };
    let failed = requests_sample("/v1/artifacts", "", "PUT", "500", "runtime_error");
    wait_until(addr, "failures", |now| {
        [&call("put"), &call("health"), &failed].iter().all(|sample| now.value(sample) >= 1.0)
    });
}

#[test]
fn no_count_ever_goes_back() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..2 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let stored =
                        put("", format!("{client} {number}")).identity(&ada()).send(server).expect_json(201);
                    let id = stored["ref"]["id"].as_str().unwrap();
                    assert_eq!(
                        Request::get(format!("/v1/artifacts/{id}")).identity(&ada()).send(server).status,
                        200
                    );
                }
            });
        }
        let mut before = Metrics::default();
        for _ in 0..100 {
            let now = scrape(server.addr());
            for (sample, value) in before.monotonic_samples() {
                assert!(now.value(sample) >= value, "{sample} went from {value} to {}", now.value(sample));
            }
            before = now;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(
            before.monotonic_samples().count() > 100
                && before.families.iter().any(|(_, kind)| *kind == FamilyKind::Histogram)
        );
    });
}

#[test]
fn clients_that_do_not_read_leave_the_others_their_responses() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let stuck: Vec<_> = (0..200)
        .map(|_| {
            let connection = Connection::open(server.addr());
            let mut writer = connection.try_clone_stream();
            // Many requests on one connection: their responses are more than the sockets hold.
            writer.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50).as_slice()).unwrap();
            connection
        })
        .collect();
    let now = scrape(server.addr());
    assert!(now.value("process_resident_memory_bytes") > 0.0);
    assert!(control("runtime.info", &json!({})).identity(&ada()).send(&server).status == 200);
    drop(stuck);
}
