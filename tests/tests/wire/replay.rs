//! Section 7: event streams that resume.

use std::time::Duration;

use artifact_store_tests::wire::{
    EventStream, Flavour, Identity, Request, Server, ServerOptions, flavours, for_each_flavour,
};
use serde_json::json;

use crate::ada;

fn resume_after(server: &Server, identity: &Identity, id: &str) -> EventStream {
    EventStream::open(server, &Request::get("/v1/events").identity(identity).header("Last-Event-ID", id))
}

/// Whether the next frame is a comment that events were lost.
fn reports_gap(stream: &mut EventStream) -> bool {
    let frame = stream.next_frame(Duration::from_secs(5)).expect("a comment comes");
    frame.event.is_none()
        && frame.comments.iter().any(|comment| comment.contains("stream.replay_unavailable"))
}

#[test]
fn a_stream_goes_on_after_the_event_it_read_last() {
    for_each_flavour(|server| {
        let mut stream = EventStream::open(server, &Request::get("/v1/events").identity(&ada()));
        let ids: Vec<_> = (0..4_u8).map(|number| server.store_id(&ada(), &[number])).collect();
        // Events of others in between.
        server.store_id(&Identity::new("globex", "gus", "s"), b"x");
        let frames: Vec<_> = (0..4).map(|_| stream.next_event()).collect();
        drop(stream);
        let later = server.store_id(&ada(), b"while away");
        for read in 0..4 {
            let mut stream = resume_after(server, &ada(), frames[read].id.as_deref().unwrap());
            for frame in &frames[read + 1..] {
                assert_eq!(stream.next_event(), *frame, "the same event with the same id");
            }
            assert_eq!(stream.next_event().json()["payload"]["ref"]["id"], later);
            // After the replay the stream continues with new events.
            let live = server.store_id(&ada(), format!("live {read}").as_bytes());
            // Events of earlier rounds come first.
            let mut last = stream.next_event();
            while last.json()["payload"]["ref"]["id"] != live {
                last = stream.next_event();
            }
            assert!(stream.is_silent());
        }
        assert_eq!(ids.len(), 4);
    });
}

#[test]
fn a_stream_whose_last_event_is_unknown_gets_a_gap_and_all_events_of_the_ring() {
    for_each_flavour(|server| {
        let before = server.store_id(&ada(), b"before");
        for id in ["unknown", "0", "-1", "18446744073709551616", "", "💥"] {
            let mut stream = resume_after(server, &ada(), id);
            if !id.is_empty() {
                assert!(reports_gap(&mut stream), "{id:?}");
            }
            let live = server.store_id(&ada(), format!("live after {id}").as_bytes());
            // All events in the ring are replayed, because the server does not know which ones the subscriber has
            // seen.
            let mut replayed_ids = Vec::new();
            while replayed_ids.last() != Some(&json!(live)) {
                replayed_ids.push(stream.next_event().json()["payload"]["ref"]["id"].clone());
            }
            let replayed = replayed_ids.contains(&json!(before));
            assert_eq!(replayed, !id.is_empty(), "{id:?}: {replayed_ids:?}");
        }
    });
}

#[test]
fn a_stream_whose_last_event_left_the_ring_gets_a_gap() {
    // The ring is above the drivers, and filling it takes a while.
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let mut stream = EventStream::open(&server, &Request::get("/v1/events").identity(&ada()));
    server.store_id(&ada(), b"first");
    let first = stream.next_event().id.unwrap();
    drop(stream);
    (0..3000_u16).for_each(|number| drop(server.store_id(&ada(), &number.to_le_bytes())));
    let mut stream = resume_after(&server, &ada(), &first);
    assert!(reports_gap(&mut stream));
    let live = server.store_id(&ada(), b"live");
    let mut frame = stream.next_event();
    while frame.json()["payload"]["ref"]["id"] != live {
        frame = stream.next_event();
    }
}

#[test]
fn an_event_of_another_session_replays_nothing_of_it() {
    for_each_flavour(|server| {
        let gus = Identity::new("globex", "gus", "s");
        let mut stream = EventStream::open(server, &Request::get("/v1/events").identity(&gus));
        server.store_id(&gus, b"one");
        server.store_id(&gus, b"two");
        let id = stream.next_event().id.unwrap();
        let mut stream = resume_after(server, &ada(), &id);
        assert!(stream.is_silent());
    });
}

#[test]
fn a_restart_is_a_gap_unless_the_store_carries_the_events() {
    for flavour in flavours().into_iter().filter(|flavour| *flavour != Flavour::Inmem) {
        let mut server = Server::start(flavour, &ServerOptions::new());
        let mut stream = EventStream::open(&server, &Request::get("/v1/events").identity(&ada()));
        server.store_id(&ada(), b"x");
        let id = stream.next_event().id.unwrap();
        let missed = server.store_id(&ada(), b"y");
        server.restart();
        let mut stream = resume_after(&server, &ada(), &id);
        if flavour == Flavour::Postgres {
            assert_eq!(stream.next_event().json()["payload"]["ref"]["id"], json!(missed));
        } else {
            assert!(reports_gap(&mut stream));
        }
    }
}
