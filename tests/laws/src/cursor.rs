//! Cursors: a listing read page by page equals the listing, and a gate accepts only the cursors it has issued.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Clock, Cursor, CursorKey, ErrorKind, Filter, Gate, GateOptions,
    ListQuery, Namespace, Position, PutOptions, Record, Scope, ScopePattern, Timestamp,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

use crate::{assert_not_repeated, block_on, split_field, text, with_edits};

/// A clock that a test sets.
#[derive(Debug, Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn gate(store: Arc<dyn ArtifactStore>, secret: &[u8]) -> Arc<dyn ArtifactStore> {
    let key = CursorKey::from_secret(secret).unwrap();
    Arc::new(Gate::new(store, GateOptions::default().with_cursor_key(key)).unwrap())
}

fn scope(session: u8) -> Scope {
    Scope::new("acme", "ada", format!("s{session}")).unwrap()
}

fn queries() -> [ListQuery; 4] {
    let session = || ListQuery::new(ScopePattern::session_of(&scope(0)));
    [
        ListQuery::new(ScopePattern::all_tenants()).with_total(),
        session(),
        session().with_filter(Filter { min_bytes: Some(0), ..Filter::default() }),
        session().with_filter(Filter { max_bytes: Some(1000), ..Filter::default() }),
    ]
}

/// Fields: `t` and a text that pretends to be a cursor; or `e` and edits of genuine cursors; or records to page
/// through.
pub fn any(data: &[u8]) {
    let (kind, rest) = split_field(data);
    match kind {
        b"t" => check_text_as_cursor(&text(rest)),
        b"e" => check_edited_cursor(rest),
        _ => {
            let limit = kind.first().copied().unwrap_or(1) % 4;
            let made: Vec<_> = rest
                .chunks_exact(9)
                .take(8)
                .map(|made| (i64::from_le_bytes(made[..8].try_into().unwrap()), made[8]))
                .collect();
            check_walk(&made, u32::from(limit).max(1));
        }
    }
}

/// A store with a few records, the same in every process. For each gate, `genuine` holds the first cursor of each
/// query.
struct Fixture {
    gates: [Arc<dyn ArtifactStore>; 3],
    genuine: Vec<Vec<String>>,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: std::sync::OnceLock<Fixture> = std::sync::OnceLock::new();
    FIXTURE.get_or_init(|| {
        let clock = Arc::new(ManualClock::default());
        let store_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let store: Arc<dyn ArtifactStore> = Arc::new(InmemStore::new(InmemConfig::new().clock(store_clock)));
        for number in 0..6_i64 {
            clock.0.store(1_767_323_045_000_000 + number / 2, Ordering::Relaxed);
            let session = scope(u8::from(number == 5));
            let bytes = format!("bytes {number}");
            block_on(store.put_bytes(&session, bytes.into_bytes(), PutOptions::default())).unwrap();
        }
        let one = gate(Arc::clone(&store), b"the secret of one gate");
        // Gates over gates, as layers around a store may be.
        let gates =
            [gate(Arc::clone(&one), b"the secret of a second"), gate(store, b"the secret of a third"), one];
        let genuine = gates
            .iter()
            .map(|gate| {
                let first =
                    |query: ListQuery| block_on(gate.list(&query.with_limit(2))).unwrap().next.unwrap();
                queries().map(|query| first(query).as_text().unwrap().to_owned()).to_vec()
            })
            .collect();
        Fixture { gates, genuine }
    })
}

/// No gate accepts a text as a cursor of a query for which it was not issued.
pub fn check_text_as_cursor(text: &str) {
    let fixture = fixture();
    for (gate, genuine) in fixture.gates.iter().zip(&fixture.genuine) {
        for (query, own) in queries().into_iter().zip(genuine) {
            let page = block_on(gate.list(&query.with_cursor(Some(Cursor::from_text(text)))));
            match page {
                Ok(_) => assert_eq!(text, own, "a cursor was accepted that was not issued"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                    assert_ne!(text, own, "a genuine cursor was refused");
                    assert_not_repeated(&error.to_string(), text);
                }
            }
        }
    }
}

/// Edits of a genuine cursor: the number of the gate, the number of the query, then pairs of a position and an
/// operation.
fn check_edited_cursor(edits: &[u8]) {
    let fixture = fixture();
    let (Some(gate), Some(query)) = (edits.first(), edits.get(1)) else { return };
    let genuine = &fixture.genuine[usize::from(*gate) % 3][usize::from(*query) % 4];
    check_text_as_cursor(&with_edits(genuine, &edits[2..]));
}

/// Stores records at these times, in a few sessions and namespaces, and pages through them with `limit` rows a page.
pub fn check_walk(made: &[(i64, u8)], limit: u32) {
    let clock = Arc::new(ManualClock::default());
    let store_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let inner = Arc::new(InmemStore::new(InmemConfig::new().clock(store_clock)));
    let store = gate(gate(inner, b"the secret of the inner gate"), b"the secret of the outer gate");
    let mut records: Vec<Record> = Vec::new();
    for (moment, place) in made {
        clock.0.store(*moment, Ordering::Relaxed);
        let namespace = Namespace::new(["a", "a_b", "B.c", "zz"][usize::from(place >> 6)]).unwrap();
        let options = PutOptions { namespace, ..PutOptions::default() };
        let bytes = vec![place & 0x0f];
        let put = block_on(store.put_bytes(&scope(place >> 4 & 3), bytes, options)).unwrap();
        if !records.iter().any(|record| (&record.scope, &record.id) == (&put.record.scope, &put.record.id)) {
            records.push(put.record);
        }
    }
    records.sort_by_key(Position::of);
    for query in queries() {
        let expected: Vec<_> = records.iter().filter(|record| query.matches(record)).cloned().collect();
        let (mut walked, mut cursor) = (Vec::new(), None);
        loop {
            let page = block_on(store.list(&query.clone().with_limit(limit).with_cursor(cursor))).unwrap();
            assert_eq!(page.total, query.counts_total().then_some(expected.len() as u64));
            walked.extend(page.rows);
            // As clients send it back: as text.
            let Some(next) = page.next else { break };
            cursor = Some(Cursor::from_text(next.as_text().expect("a gate's cursor is text")));
            assert!(walked.len() < expected.len(), "there is a page after the last one");
        }
        assert_eq!(walked, expected);
    }
}
