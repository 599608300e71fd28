//! Section 7: streams that come back.

use std::time::Duration;

use artifact_store_tests::wire::{
    EventStream, Flavour, Options, Request, Server, Who, flavours, on_every_driver,
};
use serde_json::json;

use crate::ada;

fn after(server: &Server, who: &Who, id: &str) -> EventStream {
    EventStream::open(server, &Request::get("/v1/events").by(who).header("Last-Event-ID", id))
}

/// Whether the next thing that the stream says is that events were lost.
fn tells_a_gap(stream: &mut EventStream) -> bool {
    let frame = stream.next(Duration::from_secs(5)).expect("a comment comes");
    frame.event.is_none()
        && frame.comments.iter().any(|comment| comment.contains("stream.replay_unavailable"))
}

#[test]
fn a_stream_goes_on_after_the_event_it_read_last() {
    on_every_driver(|server| {
        let mut stream = EventStream::open(server, &Request::get("/v1/events").by(&ada()));
        let ids: Vec<_> = (0..4_u8).map(|number| server.store_id(&ada(), &[number])).collect();
        // Others' events lie between.
        server.store_id(&Who::new("globex", "gus", "s"), b"x");
        let frames: Vec<_> = (0..4).map(|_| stream.event()).collect();
        drop(stream);
        let later = server.store_id(&ada(), b"while away");
        for read in 0..4 {
            let mut stream = after(server, &ada(), frames[read].id.as_deref().unwrap());
            for frame in &frames[read + 1..] {
                assert_eq!(stream.event(), *frame, "the same event with the same id");
            }
            assert_eq!(stream.event().json()["payload"]["ref"]["id"], later);
            // Then it lives on.
            let live = server.store_id(&ada(), format!("live {read}").as_bytes());
            // Those of the rounds before come first.
            let mut last = stream.event();
            while last.json()["payload"]["ref"]["id"] != live {
                last = stream.event();
            }
            assert!(stream.is_silent());
        }
        assert_eq!(ids.len(), 4);
    });
}

#[test]
fn a_stream_whose_last_event_is_unknown_is_told_so_and_all_that_the_ring_holds() {
    on_every_driver(|server| {
        let before = server.store_id(&ada(), b"before");
        for id in ["unknown", "0", "-1", "18446744073709551616", "", "💥"] {
            let mut stream = after(server, &ada(), id);
            if !id.is_empty() {
                assert!(tells_a_gap(&mut stream), "{id:?}");
            }
            let live = server.store_id(&ada(), format!("live after {id}").as_bytes());
            // What the ring holds is told again: nobody knows how much of it this subscriber has seen.
            let mut told = Vec::new();
            while told.last() != Some(&json!(live)) {
                told.push(stream.event().json()["payload"]["ref"]["id"].clone());
            }
            let replayed = told.contains(&json!(before));
            assert_eq!(replayed, !id.is_empty(), "{id:?}: {told:?}");
        }
    });
}

#[test]
fn a_stream_whose_last_event_the_ring_has_dropped_is_told_so() {
    // The ring stands above the drivers, and filling it takes a while.
    let server = Server::start(Flavour::Inmem, &Options::new());
    let mut stream = EventStream::open(&server, &Request::get("/v1/events").by(&ada()));
    server.store_id(&ada(), b"first");
    let first = stream.event().id.unwrap();
    drop(stream);
    (0..3000_u16).for_each(|number| drop(server.store_id(&ada(), &number.to_le_bytes())));
    let mut stream = after(&server, &ada(), &first);
    assert!(tells_a_gap(&mut stream));
    let live = server.store_id(&ada(), b"live");
    let mut frame = stream.event();
    while frame.json()["payload"]["ref"]["id"] != live {
        frame = stream.event();
    }
}

#[test]
fn an_event_of_another_session_replays_nothing_of_it() {
    on_every_driver(|server| {
        let gus = Who::new("globex", "gus", "s");
        let mut stream = EventStream::open(server, &Request::get("/v1/events").by(&gus));
        server.store_id(&gus, b"one");
        server.store_id(&gus, b"two");
        let id = stream.event().id.unwrap();
        let mut stream = after(server, &ada(), &id);
        assert!(stream.is_silent());
    });
}

#[test]
fn a_restart_is_a_gap_unless_the_store_carries_the_events() {
    for flavour in flavours().into_iter().filter(|flavour| *flavour != Flavour::Inmem) {
        let mut server = Server::start(flavour, &Options::new());
        let mut stream = EventStream::open(&server, &Request::get("/v1/events").by(&ada()));
        server.store_id(&ada(), b"x");
        let id = stream.event().id.unwrap();
        let missed = server.store_id(&ada(), b"y");
        server.restart();
        let mut stream = after(&server, &ada(), &id);
        if flavour == Flavour::Postgres {
            assert_eq!(stream.event().json()["payload"]["ref"]["id"], json!(missed));
        } else {
            assert!(tells_a_gap(&mut stream));
        }
    }
}
