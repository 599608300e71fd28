//! Section 7: the event stream: who hears what.

use std::collections::BTreeSet;
use std::time::Duration;

use artifact_store_tests::wire::{
    EventStream, Flavour, Options, Request, Server, Who, base64, flavours, on_every_driver,
};
use serde_json::json;

use crate::ada;

fn events(query: &str) -> Request {
    Request::get(format!("/v1/events{query}"))
}

fn listen(server: &Server, who: &Who) -> EventStream {
    EventStream::open(server, &events("").by(who))
}

#[test]
fn uploads_and_deletes_are_told_with_metadata_and_never_bytes() {
    on_every_driver(|server| {
        let mut stream = listen(server, &ada());
        assert!(
            stream
                .header("cache-control")
                .is_some_and(|value| value.contains("no-store") || value.contains("no-cache"))
        );
        let opts = json!({"filename": "f", "mime_type": "text/plain", "tags": ["t"], "source": "tool"});
        let stored = server.store(&ada(), b"the bytes of an event", &opts);
        let frame = stream.event();
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
        server.call(&ada().admin(), "artifacts.delete", &json!({"id": stored["id"]})).ok(200);
        let frame = stream.event();
        assert_eq!(frame.event.as_deref(), Some("artifacts.deleted"));
        assert_eq!(frame.json()["payload"], json!({"id": stored["id"]}));
        // Bytes come in by either way.
        artifact_store_tests::wire::put("?task=t", "raw").by(&ada()).send(server).ok(201);
        assert_eq!(stream.event().json()["scope"]["task"], "t");
    });
}

#[test]
fn every_event_has_an_id_of_its_own() {
    on_every_driver(|server| {
        let mut stream = listen(server, &ada());
        (0..20_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let ids: BTreeSet<_> = (0..20).map(|_| stream.event().id.expect("an event has an id")).collect();
        assert_eq!(ids.len(), 20);
    });
}

#[test]
fn what_stood_already_and_what_was_refused_is_no_event() {
    on_every_driver(|server| {
        server.store_id(&ada(), b"stands");
        let mut stream = listen(server, &ada());
        server.store_id(&ada(), b"stands");
        server
            .call(&ada(), "artifacts.put", &json!({"bytes": "", "opts": {"tags": vec!["t"; 51]}}))
            .refused("payload_invalid");
        server
            .call(
                &ada().admin(),
                "artifacts.delete",
                &json!({"id": "default_0123456789abcdef0123456789abcdef"}),
            )
            .refused("not_found");
        assert!(stream.is_silent());
    });
}

#[test]
fn a_session_hears_its_own_events_alone() {
    on_every_driver(|server| {
        let mut stream = listen(server, &ada());
        for other in [
            Who::new("globex", "ada", "session-1"),
            Who::new("acme", "bob", "session-1"),
            Who::new("acme", "ada", "session-2"),
        ] {
            server.store_id(&other, b"of another");
        }
        assert!(stream.is_silent());
        server.store_id(&ada(), b"own");
        assert_eq!(stream.event().json()["scope"], ada().scope());
        // The header chooses the session here, too.
        let request = events("").by(&ada()).header("X-Harbor-Session", "session-2");
        let mut other = EventStream::open(server, &request);
        server.store_id(&Who::new("acme", "ada", "session-2"), b"in session 2");
        assert_eq!(other.event().json()["scope"]["session"], "session-2");
    });
}

#[test]
fn the_types_can_be_narrowed() {
    on_every_driver(|server| {
        let only = |kinds: &[&str]| {
            let request = kinds
                .iter()
                .fold(events("").by(&ada()), |request, kind| request.header("X-Harbor-Event-Type", *kind));
            EventStream::open(server, &request)
        };
        let mut uploads = only(&["artifacts.uploaded"]);
        let mut deletes = only(&["artifacts.deleted"]);
        let mut both = only(&["artifacts.deleted", "artifacts.uploaded"]);
        let id = server.store_id(&ada(), b"x");
        server.call(&ada().admin(), "artifacts.delete", &json!({"id": id})).ok(200);
        assert_eq!(uploads.event().event.as_deref(), Some("artifacts.uploaded"));
        assert!(uploads.is_silent());
        assert_eq!(deletes.event().event.as_deref(), Some("artifacts.deleted"));
        assert!(deletes.is_silent());
        assert_eq!(both.event().event.as_deref(), Some("artifacts.uploaded"));
        assert_eq!(both.event().event.as_deref(), Some("artifacts.deleted"));
    });
}

#[test]
fn a_browser_sends_its_token_in_the_query() {
    on_every_driver(|server| {
        let token = ada().token();
        let mut stream = EventStream::open(server, &events(&format!("?access_token={token}")));
        server.store_id(&ada(), b"x");
        stream.event();
        events("?access_token=a.b.c").send(server).refused("auth_rejected");
        events("?access_token=").send(server);
        // The header goes first, whatever it holds.
        drop(EventStream::open(server, &events("?access_token=a.b.c").by(&ada())));
        events(&format!("?access_token={token}")).bearer("a.b.c").send(server).refused("auth_rejected");
        let log = server.log();
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part), "the log holds a token");
        }
        assert!(!log.contains("a.b.c"), "the log holds what was sent as a token");
    });
}

#[test]
fn every_tenant_is_heard_with_admin_or_fleet_alone() {
    on_every_driver(|server| {
        events("?admin=1").by(&ada()).send(server).refused("identity_scope_required");
        events("?admin=1").by(&ada().with("root")).send(server).refused("identity_scope_required");
        let mut streams: Vec<_> = [ada().admin(), ada().fleet()]
            .iter()
            .map(|who| EventStream::open(server, &events("?admin=1").by(who)))
            .collect();
        // Without asking, an administrator hears its own session.
        let mut own = listen(server, &ada().admin());
        server.store_id(&Who::new("globex", "gus", "s"), b"of globex");
        for stream in &mut streams {
            let mut frame = stream.event();
            while frame.event.as_deref() == Some("audit.admin_scope_used") {
                assert_eq!(frame.json()["payload"]["method"], "events.subscribe");
                frame = stream.event();
            }
            assert_eq!(frame.json()["scope"]["tenant"], "globex");
        }
        let heard: Vec<_> = std::iter::from_fn(|| own.next(Duration::from_millis(300)))
            .filter(|frame| frame.event.is_some())
            .collect();
        assert!(heard.iter().all(|frame| frame.json()["scope"]["tenant"] == "acme"), "{heard:?}");
    });
}

#[test]
fn past_the_limit_of_a_session_it_is_429_until_one_goes() {
    on_every_driver(|server| {
        let mut open = Vec::new();
        let refused = loop {
            let incoming = events("").by(&ada()).begin(server.addr());
            if incoming.response.status != 200 {
                break events("").by(&ada()).send(server);
            }
            open.push(incoming);
            assert!(open.len() < 200, "there is no limit");
        };
        assert_eq!((refused.status, refused.code().as_str()), (429, "runtime_error"));
        assert!(refused.header("retry-after").is_some());
        // Another session has a limit of its own.
        drop(listen(server, &Who::new("acme", "ada", "session-2")));
        open.pop();
        let again = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            events("").by(&ada()).begin(server.addr()).response.status == 200
        });
        assert!(again, "the place of one that went stays taken");
    });
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let server = Server::start(Flavour::Inmem, &Options::new());
    let mut stream = listen(&server, &ada());
    let frame = stream.next(Duration::from_secs(17)).expect("a comment within 15 s");
    assert!(!frame.comments.is_empty() && frame.event.is_none() && frame.data.is_none(), "{frame:?}");
}

#[test]
fn a_server_that_is_told_to_stop_ends_its_streams_and_itself() {
    for flavour in flavours() {
        let mut server = Server::start(flavour, &Options::new());
        let stream = listen(&server, &ada());
        let id = server.store_id(&ada(), b"x");
        assert!(server.stop().success(), "{}", server.log());
        assert!(stream.ends(Duration::from_secs(5)), "the stream was cut");
        if flavour != Flavour::Inmem {
            server.restart();
            server.download(&ada(), &id).ok_bytes(b"x");
        }
    }
}

#[test]
fn a_stream_that_is_not_read_holds_nobody_up_and_ends_with_a_word_about_it() {
    // The bus stands above the drivers, and filling every buffer between it and the subscriber takes a while.
    let server = Server::start(Flavour::Inmem, &Options::new());
    let mut slow = listen(&server, &ada());
    let mut quick = listen(&server, &ada());
    let tags: Vec<_> = (0..15).map(|number| format!("{number}-{}", "t".repeat(1000))).collect();
    let opts = json!({"tags": tags});
    for number in 0..3000_u16 {
        let stored = server.store(&ada(), &number.to_le_bytes(), &opts);
        assert_eq!(quick.event().json()["payload"]["ref"], stored, "the others hear at once");
    }
    let mut heard = 0;
    loop {
        let frame = slow.next(Duration::from_secs(5)).expect("a last word comes");
        if frame.comments == ["stream.subscriber_too_slow"] {
            break;
        }
        heard += usize::from(frame.event.is_some());
    }
    assert!((1..3000).contains(&heard), "{heard}");
    assert!(slow.ends(Duration::from_secs(5)));
    let counted = String::from_utf8(Request::get("/metrics").send(&server).body).unwrap();
    assert!(counted.contains("\nartifactd_event_stream_drops_total 1\n"), "{counted}");
}
