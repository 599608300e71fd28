#![allow(clippy::unwrap_used)] // Helpers of tests.

use artifact_store_core::{Clock, Scope, SystemClock};
use artifact_store_protocol::{EventData, EventPayload};

use super::*;

fn event(id: &str, tenant: &str) -> Arc<Event> {
    let scope = Scope::new(tenant, "ada", "s1").unwrap();
    let payload = EventPayload::Deleted { id: "default_0123456789abcdef0123456789abcdef".parse().unwrap() };
    let data = EventData { kind: payload.kind(), occurred_at: SystemClock.now(), scope, payload };
    Arc::new(Event { id: id.to_owned(), data })
}

/// What a reader of `tenant` reads from `number` on: the ids of events, and `lost` for a loss. `None` means all
/// tenants.
fn read(history: &EventHistory, mut number: u64, tenant: Option<&str>) -> Vec<String> {
    let tenant = tenant.map(|tenant| ScopePart::new(tenant).unwrap());
    let mut read = Vec::new();
    while let Some((found, entry)) = history.next_from(number, tenant.as_ref(), |_| true) {
        number = found + 1;
        read.push(match entry {
            HistoryEntry::Event(event) => event.id.clone(),
            HistoryEntry::Lost => "lost".to_owned(),
        });
    }
    read
}

#[test]
fn a_loss_appears_between_the_events_of_every_tenant_where_it_happened() {
    let mut history = EventHistory::new(8, usize::MAX);
    history.push(event("a1", "a"), |_, _| {});
    history.push(event("b1", "b"), |_, _| {});
    history.push_loss();
    history.push_loss();
    history.push(event("a2", "a"), |_, _| {});
    assert_eq!(read(&history, 0, Some("a")), ["a1", "lost", "a2"]);
    assert_eq!(read(&history, 0, Some("b")), ["b1", "lost"]);
    assert_eq!(read(&history, 0, None), ["a1", "b1", "lost", "a2"]);
}

#[test]
fn a_reader_that_has_read_a_loss_learns_of_the_next_one() {
    let mut history = EventHistory::new(8, usize::MAX);
    history.push_loss();
    let read_up_to = history.next_number();
    history.push_loss();
    assert_eq!(read(&history, read_up_to, None), ["lost"]);
}

#[test]
fn unlimited_losses_take_bounded_memory_and_a_reader_before_them_gets_a_gap() {
    let mut history = EventHistory::new(8, usize::MAX);
    history.push(event("first", "a"), |_, _| {});
    for number in 0..5000 {
        history.push_loss();
        history.push(event(&number.to_string(), "a"), |_, _| {});
    }
    assert_eq!(history.losses.len(), MAX_LOSSES);
    assert!(history.losses_known_from() > 1, "a reader that has read `first` only is too slow");
    assert!(history.position_after("first", Some(&ScopePart::new("a").unwrap())).has_gap);
}

#[test]
fn a_tenant_whose_events_were_all_dropped_takes_no_memory() {
    // Each event takes more than half of the limit.
    let mut history = EventHistory::new(8, 2000);
    for number in 0..100 {
        history.push(event(&number.to_string(), &number.to_string()), |_, _| {});
    }
    assert_eq!((history.tenants.len(), history.by_bytes.len(), history.events_by_number.len()), (1, 1, 1));
    assert_eq!(read(&history, 0, None), ["99"]);
}
