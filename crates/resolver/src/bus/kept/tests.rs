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

/// What a reader of `tenant` finds from `at` on: ids, and `lost`.
fn read(kept: &KeptEvents, mut at: u64, tenant: Option<&str>) -> Vec<String> {
    let tenant = tenant.map(|tenant| ScopePart::new(tenant).unwrap());
    let mut read = Vec::new();
    while let Some((number, slot)) = kept.next_from(at, tenant.as_ref(), |_| true) {
        at = number + 1;
        read.push(match slot {
            Slot::Event(event) => event.id.clone(),
            Slot::Lost => "lost".to_owned(),
        });
    }
    read
}

#[test]
fn a_loss_stands_between_the_events_of_every_tenant_where_it_happened() {
    let mut kept = KeptEvents::new(8, usize::MAX);
    kept.push(event("a1", "a"), |_, _| {});
    kept.push(event("b1", "b"), |_, _| {});
    kept.lose();
    kept.lose();
    kept.push(event("a2", "a"), |_, _| {});
    assert_eq!(read(&kept, 0, Some("a")), ["a1", "lost", "a2"]);
    assert_eq!(read(&kept, 0, Some("b")), ["b1", "lost"]);
    assert_eq!(read(&kept, 0, None), ["a1", "b1", "lost", "a2"]);
}

#[test]
fn who_has_read_a_loss_learns_of_the_one_behind_it() {
    let mut kept = KeptEvents::new(8, usize::MAX);
    kept.lose();
    let read_up_to = kept.end();
    kept.lose();
    assert_eq!(read(&kept, read_up_to, None), ["lost"]);
}

#[test]
fn losses_without_end_take_bounded_memory_and_a_reader_before_them_is_told() {
    let mut kept = KeptEvents::new(8, usize::MAX);
    kept.push(event("first", "a"), |_, _| {});
    for number in 0..5000 {
        kept.lose();
        kept.push(event(&number.to_string(), "a"), |_, _| {});
    }
    assert_eq!(kept.losses.len(), LOSSES_KEPT);
    assert!(kept.losses_known_from() > 1, "a reader that has read `first` only is too slow");
    assert!(kept.after("first", Some(&ScopePart::new("a").unwrap())).gap);
}

#[test]
fn a_tenant_whose_events_have_all_gone_takes_no_memory() {
    // Each event takes more than half.
    let mut kept = KeptEvents::new(8, 2000);
    for number in 0..100 {
        kept.push(event(&number.to_string(), &number.to_string()), |_, _| {});
    }
    assert_eq!((kept.tenants.len(), kept.by_bytes.len(), kept.all.len()), (1, 1, 1));
    assert_eq!(read(&kept, 0, None), ["99"]);
}
