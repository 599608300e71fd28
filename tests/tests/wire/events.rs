//! Section 7: which events a subscriber of the event stream receives.

use std::collections::BTreeSet;
use std::time::Duration;

use artifact_store_tests::wire::{
    EventStream, Flavour, Identity, Request, Server, ServerOptions, base64, flavours, for_each_flavour,
};
use serde_json::json;

use crate::ada;

fn events_request(query: &str) -> Request {
    Request::get(format!("/v1/events{query}"))
}

fn listen(server: &Server, identity: &Identity) -> EventStream {
    EventStream::open(server, &events_request("").identity(identity))
}

#[test]
fn uploads_and_deletes_are_events_with_metadata_and_without_bytes() {
    for_each_flavour(|server| {
        let mut stream = listen(server, &ada());
        assert!(
            stream
                .header("cache-control")
                .is_some_and(|value| value.contains("no-store") || value.contains("no-cache"))
        );
        let opts = json!({"filename": "f", "mime_type": "text/plain", "tags": ["t"], "source": "tool"});
        let stored = server.store(&ada(), b"the bytes of an event", &opts);
        let frame = stream.next_event();
        assert_eq!(frame.event.as_deref(), Some("artifacts.uploaded"));
        let data = frame.json();
        assert_eq!(data["type"], "artifacts.uploaded");
        assert_eq!(data["scope"], ada().scope());
        assert_eq!(data["payload"]["ref"], stored);
        assert_eq!((&data["payload"]["tags"], &data["payload"]["source"]), (&json!(["t"]), &json!("tool")));
        let text = frame.data.unwrap();
        assert!(
            !text.contains("the bytes of") && !text.contains(&base64(b"the bytes of an event")),
            "{text}"
        );
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": stored["id"]})).expect_json(200);
        let frame = stream.next_event();
        assert_eq!(frame.event.as_deref(), Some("artifacts.deleted"));
        assert_eq!(frame.json()["payload"], json!({"id": stored["id"]}));
        // An upload of bytes publishes the same event as the method.
        artifact_store_tests::wire::put("?task=t", "raw").identity(&ada()).send(server).expect_json(201);
        assert_eq!(stream.next_event().json()["scope"]["task"], "t");
    });
}

#[test]
fn every_event_has_an_id_of_its_own() {
    for_each_flavour(|server| {
        let mut stream = listen(server, &ada());
        (0..20_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let ids: BTreeSet<_> = (0..20).map(|_| stream.next_event().id.expect("an event has an id")).collect();
        assert_eq!(ids.len(), 20);
    });
}

#[test]
fn what_already_exists_and_what_was_refused_is_no_event() {
    for_each_flavour(|server| {
        server.store_id(&ada(), b"stands");
        let mut stream = listen(server, &ada());
        server.store_id(&ada(), b"stands");
        server
            .call(&ada(), "artifacts.put", &json!({"bytes": "", "opts": {"tags": vec!["t"; 51]}}))
            .expect_refusal("payload_invalid");
        server
            .call(
                &ada().with_admin(),
                "artifacts.delete",
                &json!({"id": "default_0123456789abcdef0123456789abcdef"}),
            )
            .expect_refusal("not_found");
        assert!(stream.is_silent());
    });
}

#[test]
fn a_session_receives_only_its_own_events() {
    for_each_flavour(|server| {
        let mut stream = listen(server, &ada());
        for other in [
            Identity::new("globex", "ada", "session-1"),
            Identity::new("acme", "bob", "session-1"),
            Identity::new("acme", "ada", "session-2"),
        ] {
            server.store_id(&other, b"of another");
        }
        assert!(stream.is_silent());
        server.store_id(&ada(), b"own");
        assert_eq!(stream.next_event().json()["scope"], ada().scope());
        // The header selects the session here too.
        let request = events_request("").identity(&ada()).header("X-Harbor-Session", "session-2");
        let mut other = EventStream::open(server, &request);
        server.store_id(&Identity::new("acme", "ada", "session-2"), b"in session 2");
        assert_eq!(other.next_event().json()["scope"]["session"], "session-2");
    });
}

#[test]
fn the_types_can_be_narrowed() {
    for_each_flavour(|server| {
        let only = |kinds: &[&str]| {
            let request = kinds.iter().fold(events_request("").identity(&ada()), |request, kind| {
                request.header("X-Harbor-Event-Type", *kind)
            });
            EventStream::open(server, &request)
        };
        let mut uploads = only(&["artifacts.uploaded"]);
        let mut deletes = only(&["artifacts.deleted"]);
        let mut both = only(&["artifacts.deleted", "artifacts.uploaded"]);
        let id = server.store_id(&ada(), b"x");
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).expect_json(200);
        assert_eq!(uploads.next_event().event.as_deref(), Some("artifacts.uploaded"));
        assert!(uploads.is_silent());
        assert_eq!(deletes.next_event().event.as_deref(), Some("artifacts.deleted"));
        assert!(deletes.is_silent());
        assert_eq!(both.next_event().event.as_deref(), Some("artifacts.uploaded"));
        assert_eq!(both.next_event().event.as_deref(), Some("artifacts.deleted"));
    });
}

#[test]
fn a_browser_sends_its_token_in_the_query() {
    for_each_flavour(|server| {
        let token = ada().token();
        let mut stream = EventStream::open(server, &events_request(&format!("?access_token={token}")));
        server.store_id(&ada(), b"x");
        stream.next_event();
        events_request("?access_token=a.b.c").send(server).expect_refusal("auth_rejected");
        events_request("?access_token=").send(server);
        // The header has priority, whatever it contains.
        drop(EventStream::open(server, &events_request("?access_token=a.b.c").identity(&ada())));
        events_request(&format!("?access_token={token}"))
            .bearer("a.b.c")
            .send(server)
            .expect_refusal("auth_rejected");
        let log = server.log();
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part), "the log contains a token");
        }
        assert!(!log.contains("a.b.c"), "the log contains what was sent as a token");
    });
}

#[test]
fn events_of_every_tenant_need_admin_or_fleet() {
    for_each_flavour(|server| {
        events_request("?admin=1").identity(&ada()).send(server).expect_refusal("identity_scope_required");
        events_request("?admin=1")
            .identity(&ada().with_scope("root"))
            .send(server)
            .expect_refusal("identity_scope_required");
        let mut streams: Vec<_> = [ada().with_admin(), ada().with_fleet()]
            .iter()
            .map(|identity| EventStream::open(server, &events_request("?admin=1").identity(identity)))
            .collect();
        // Without `admin=1` an administrator receives only the events of its own session.
        let mut own = listen(server, &ada().with_admin());
        server.store_id(&Identity::new("globex", "gus", "s"), b"of globex");
        for stream in &mut streams {
            let mut frame = stream.next_event();
            while frame.event.as_deref() == Some("audit.admin_scope_used") {
                assert_eq!(frame.json()["payload"]["method"], "events.subscribe");
                frame = stream.next_event();
            }
            assert_eq!(frame.json()["scope"]["tenant"], "globex");
        }
        let received: Vec<_> = std::iter::from_fn(|| own.next_frame(Duration::from_millis(300)))
            .filter(|frame| frame.event.is_some())
            .collect();
        assert!(received.iter().all(|frame| frame.json()["scope"]["tenant"] == "acme"), "{received:?}");
    });
}

#[test]
fn past_the_limit_of_a_session_it_is_429_until_one_goes() {
    for_each_flavour(|server| {
        let mut open = Vec::new();
        let refused = loop {
            let incoming = events_request("").identity(&ada()).send_streaming(server.addr());
            if incoming.response.status != 200 {
                break events_request("").identity(&ada()).send(server);
            }
            open.push(incoming);
            assert!(open.len() < 200, "there is no limit");
        };
        assert_eq!((refused.status, refused.code().as_str()), (429, "runtime_error"));
        assert!(refused.header("retry-after").is_some());
        // Another session has a limit of its own.
        drop(listen(server, &Identity::new("acme", "ada", "session-2")));
        open.pop();
        let again = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            events_request("").identity(&ada()).send_streaming(server.addr()).response.status == 200
        });
        assert!(again, "a closed stream does not release its place");
    });
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let mut stream = listen(&server, &ada());
    let frame = stream.next_frame(Duration::from_secs(17)).expect("a comment within 15 s");
    assert!(!frame.comments.is_empty() && frame.event.is_none() && frame.data.is_none(), "{frame:?}");
}

#[test]
fn a_server_that_shuts_down_ends_its_streams_and_exits() {
    for flavour in flavours() {
        let mut server = Server::start(flavour, &ServerOptions::new());
        let stream = listen(&server, &ada());
        let id = server.store_id(&ada(), b"x");
        assert!(server.stop().success(), "{}", server.log());
        assert!(stream.ends_within(Duration::from_secs(5)), "the stream was cut");
        if flavour != Flavour::Inmem {
            server.restart();
            server.download(&ada(), &id).expect_bytes(b"x");
        }
    }
}

#[test]
fn an_unread_stream_delays_nobody_and_ends_with_a_comment() {
    // The event bus is above the drivers. Filling every buffer between it and the subscriber takes a while, so one
    // flavour is enough.
    let server = Server::start(Flavour::Inmem, &ServerOptions::new().set("server.body_timeout", "10m"));
    let mut slow = listen(&server, &ada());
    let mut quick = listen(&server, &ada());
    let tags: Vec<_> = (0..15).map(|number| format!("{number}-{}", "t".repeat(1000))).collect();
    let opts = json!({"tags": tags});
    for number in 0..3000_u16 {
        let stored = server.store(&ada(), &number.to_le_bytes(), &opts);
        assert_eq!(
            quick.next_event().json()["payload"]["ref"],
            stored,
            "the others receive the event at once"
        );
    }
    let mut received = 0;
    loop {
        let frame = slow.next_frame(Duration::from_secs(5)).expect("a last comment arrives");
        if frame.comments == ["stream.subscriber_too_slow"] {
            break;
        }
        received += usize::from(frame.event.is_some());
    }
    assert!((1..3000).contains(&received), "{received}");
    assert!(slow.ends_within(Duration::from_secs(5)));
    let counted = String::from_utf8(Request::get("/metrics").send(&server).body).unwrap();
    assert!(counted.contains("\nartifactd_event_stream_drops_total 1\n"), "{counted}");
}
