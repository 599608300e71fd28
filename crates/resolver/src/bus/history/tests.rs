#![allow(clippy::unwrap_used)] // A helper of a test may panic.

use artifact_store_core::{Clock, Scope, SystemClock};
use artifact_store_protocol::{EventData, EventPayload};

use super::*;

fn event(id: &str, tenant: &str) -> Arc<Event> {
    let scope = Scope::new(tenant, "ada", "s1").unwrap();
    let payload = EventPayload::Deleted { id: "default_0123456789abcdef0123456789abcdef".parse().unwrap() };
    let data = EventData { kind: payload.kind(), occurred_at: SystemClock.now(), scope, payload };
    Arc::new(Event { id: id.to_owned(), data })
}

/// A history without a limit in bytes.
fn history_with_8_events_per_tenant() -> EventHistory {
    EventHistory::new(8, usize::MAX)
}

/// Adds an event. Ignores which events are dropped to make room.
fn push(history: &mut EventHistory, id: &str, tenant: &str) {
    history.push(event(id, tenant), |_, _| {});
}

/// What a reader of `tenant` reads, beginning with the entry that has the number `next`: the ids of events, and `lost`
/// for a loss. `None` as `tenant` means all tenants.
fn read(history: &EventHistory, mut next: u64, tenant: Option<&str>) -> Vec<String> {
    let tenant = tenant.map(|tenant| ScopePart::new(tenant).unwrap());
    let matches_every_event = |_: &Event| true;
    let mut entries = Vec::new();
    while let Some((number, entry)) = history.next_from(next, tenant.as_ref(), matches_every_event) {
        next = number + 1;
        entries.push(match entry {
            HistoryEntry::Event(event) => event.id.clone(),
            HistoryEntry::Lost => "lost".to_owned(),
        });
    }
    entries
}

#[test]
fn a_loss_appears_between_the_events_of_every_tenant_where_it_happened() {
    let mut history = history_with_8_events_per_tenant();
    push(&mut history, "a1", "a");
    push(&mut history, "b1", "b");
    history.push_loss();
    history.push_loss();
    push(&mut history, "a2", "a");
    assert_eq!(read(&history, 0, Some("a")), ["a1", "lost", "a2"]);
    assert_eq!(read(&history, 0, Some("b")), ["b1", "lost"]);
    assert_eq!(read(&history, 0, None), ["a1", "b1", "lost", "a2"]);
}

#[test]
fn a_reader_that_has_read_a_loss_learns_of_the_next_one() {
    let mut history = history_with_8_events_per_tenant();
    history.push_loss();
    let read_up_to = history.next_number();
    history.push_loss();
    assert_eq!(read(&history, read_up_to, None), ["lost"]);
}

#[test]
fn unlimited_losses_take_bounded_memory_and_a_reader_before_them_gets_a_gap() {
    let mut history = history_with_8_events_per_tenant();
    push(&mut history, "first", "a");
    for number in 0..5000 {
        history.push_loss();
        push(&mut history, &number.to_string(), "a");
    }
    assert_eq!(history.losses.len(), MAX_LOSSES);
    assert!(history.losses_known_from() > 1, "a reader that has read `first` only is too slow");
    assert!(history.position_after("first", Some(&ScopePart::new("a").unwrap())).has_gap);
}

#[test]
fn a_tenant_whose_events_were_all_dropped_takes_no_memory() {
    // Each event takes more than half of this limit, so only one event is kept.
    let max_bytes = 2000;
    let mut history = EventHistory::new(8, max_bytes);
    for number in 0..100 {
        let (id, tenant) = (number.to_string(), number.to_string());
        push(&mut history, &id, &tenant);
    }
    assert_eq!(history.tenants.len(), 1);
    assert_eq!(history.by_bytes.len(), 1);
    assert_eq!(history.events_by_number.len(), 1);
    assert_eq!(read(&history, 0, None), ["99"]);
}
