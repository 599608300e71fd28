//! Listings: scopes, filters, order, totals, pages and cursors.

use std::collections::BTreeSet;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Body, Cursor, ErrorKind, Filter, ListQuery, MediaRange, Position, PutOptions, Record,
    Scope, ScopePart, ScopePattern, Source, StoreError, TaskPattern, Timestamp,
};

use super::check_group;
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq, ensure_error_kind};
use crate::fixtures::{
    ManualClock, START_MICROS, default_scope, filter_query, list_all_rows, put, random_bytes, scope,
    scope_query, tenant_query,
};
use crate::harness::StoreOptions;

check_group! { "listing":
    a_listing_covers_exactly_its_scopes,
    every_filter_keeps_what_it_says,
    a_media_range_covers_what_it_says,
    newest_come_first_and_ties_go_by_id,
    pages_cover_every_row_once,
    a_page_has_no_more_rows_than_its_limit,
    the_total_counts_every_match,
    a_listing_of_nothing_is_an_empty_page,
    a_cursor_is_stable_under_puts_and_deletes,
    an_altered_cursor_is_refused,
    a_cursor_of_another_query_is_refused,
}

/// Opens a store with a clock that the check sets. Returns the store and the clock.
async fn open_with_clock(
    ctx: &CheckContext,
) -> Result<(Arc<dyn ArtifactStore>, Arc<ManualClock>), StoreError> {
    let clock = Arc::new(ManualClock::new(START_MICROS));
    let options = StoreOptions { clock: Arc::clone(&clock) as _, ..StoreOptions::default() };
    Ok((ctx.open_with(&options).await?, clock))
}

async fn a_listing_covers_exactly_its_scopes(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let mut scopes = Vec::new();
    for tenant in ["t", "t1", "u"] {
        for user in ["u", "u1"] {
            for session in ["s", "s1"] {
                let session = scope(tenant, user, session)?;
                scopes.extend([session.clone(), session.clone().with_task("k")?, session.with_task("k1")?]);
            }
        }
    }
    for scope in &scopes {
        put(&*store, scope, &random_bytes(ctx.seed, 30)).await?;
    }
    let part = |text: &str| ScopePart::new(text);
    let task = |text: &str| Ok::<_, StoreError>(TaskPattern::One(ScopePart::new(text)?));
    // The tenant `t`, the user `u` and the session `s`: without a task, and with the task `k`.
    let session = &scopes[0];
    let session_with_task = &scopes[1];
    let tenant = || Ok::<_, StoreError>(ScopePattern::tenant(ScopePart::new("t")?));
    // Each pattern, and the number of scopes that it matches.
    let patterns = [
        (ScopePattern::exactly(session), 1),
        (ScopePattern::exactly(session_with_task), 1),
        (ScopePattern::session_of(session), 3),
        (ScopePattern::session_of(session).task(TaskPattern::NoTask), 1),
        (tenant()?, 12),
        (tenant()?.user(part("u")?), 6),
        (tenant()?.session(part("s")?), 6),
        (tenant()?.user(part("u")?).task(task("k")?), 2),
        (tenant()?.task(TaskPattern::NoTask), 4),
        (ScopePattern::all_tenants(), 36),
        (ScopePattern::all_tenants().user(part("u1")?), 18),
        (ScopePattern::all_tenants().session(part("s")?).task(task("k1")?), 6),
        (ScopePattern::tenant(part("nobody")?), 0),
        (tenant()?.user(part("t")?), 0),
    ];
    for (pattern, count) in patterns {
        let expected: BTreeSet<&Scope> = scopes.iter().filter(|scope| pattern.matches(scope)).collect();
        ensure_eq!(
            expected.len(),
            count,
            "the number of matches that the check itself expects for {pattern:?}"
        );
        let rows = list_all_rows(&*store, &ListQuery::new(pattern.clone()), 5).await?;
        ensure_eq!(rows.len(), count, "the number of rows of {pattern:?}");
        let got: BTreeSet<&Scope> = rows.iter().map(|row| &row.scope).collect();
        ensure_eq!(got, expected, "the scopes listed by {pattern:?}");
    }
    Ok(Outcome::Passed)
}

async fn every_filter_keeps_what_it_says(ctx: &CheckContext) -> CheckResult {
    let (store, clock) = open_with_clock(ctx).await?;
    let scope = default_scope()?;
    let types =
        [None, Some("text/plain"), Some("image/png"), Some("text/pla"), Some("TEXT/PLAIN"), Some("a\u{0}b")];
    let tags: [&[&str]; 6] = [&[], &["red"], &["red", "blue"], &["re"], &["RED", "q\"'%_"], &["a\u{0}b", ""]];
    let mut all: Vec<Record> = Vec::new();
    // Artifact n has n bytes. Each group of three artifacts has the same time, 10 µs after the group before.
    let moments = (0_i64..).step_by(10).flat_map(|moment| [moment; 3]);
    for (n, moment) in (0..36_usize).zip(moments) {
        clock.set(START_MICROS + moment);
        let options = PutOptions {
            media_type: types[n % 6].map(ToOwned::to_owned),
            source: Source::ALL[n % 4],
            tags: tags[(n / 6) % 6].iter().map(|tag| (*tag).to_owned()).collect(),
            ..PutOptions::default()
        };
        all.push(
            store.put(&scope, Body::from_bytes(random_bytes(ctx.seed + n as u64, n)), options).await?.record,
        );
    }
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let at = |moment: i64| Some(Timestamp::from_micros(START_MICROS + moment));
    let any = Filter::default;
    // Each filter, and the number of artifacts that it matches.
    let filters = [
        (any(), 36),
        (Filter { media_types: ranges(&["text/plain"])?, ..any() }, 12),
        (Filter { media_types: ranges(&["text/plain", "image/png", "no/thing"])?, ..any() }, 18),
        (Filter { media_types: ranges(&["a/b"])?, ..any() }, 0),
        (Filter { sources: vec![Source::Tool], ..any() }, 9),
        (Filter { sources: vec![Source::Tool, Source::System], ..any() }, 18),
        (Filter { min_bytes: Some(35), ..any() }, 1),
        (Filter { max_bytes: Some(0), ..any() }, 1),
        (Filter { min_bytes: Some(10), max_bytes: Some(12), ..any() }, 3),
        (Filter { min_bytes: Some(12), max_bytes: Some(10), ..any() }, 0),
        (Filter { max_bytes: Some(u64::MAX), ..any() }, 36),
        (Filter { min_bytes: Some(u64::MAX), ..any() }, 0),
        (Filter { created_after: at(110), ..any() }, 3),
        (Filter { created_before: at(0), ..any() }, 3),
        (Filter { created_after: at(20), created_before: at(30), ..any() }, 6),
        (Filter { created_after: at(21), created_before: at(29), ..any() }, 0),
        (Filter { tags: texts(&["red"]), ..any() }, 12),
        (Filter { tags: texts(&["re", "blue"]), ..any() }, 12),
        (Filter { tags: texts(&["q\"'%_"]), ..any() }, 6),
        (Filter { tags: texts(&["a\u{0}b"]), ..any() }, 6),
        (Filter { tags: texts(&["a"]), ..any() }, 0),
        (Filter { tags: texts(&[""]), ..any() }, 6),
        (Filter { tags: texts(&["red"]), sources: vec![Source::Tool], min_bytes: Some(10), ..any() }, 2),
        (
            Filter {
                media_types: ranges(&["text/plain"])?,
                tags: texts(&["red", "re"]),
                created_after: at(30),
                ..any()
            },
            5,
        ),
    ];
    for (filter, count) in filters {
        let expected = all.iter().filter(|record| filter.matches(record)).count();
        ensure_eq!(expected, count, "the number of matches that the check itself expects for {filter:?}");
        let query = filter_query(&scope, filter.clone());
        let rows = list_all_rows(&*store, &query, 4).await?;
        ensure!(rows.iter().all(|row| filter.matches(row)), "a row does not match {filter:?}");
        ensure_eq!(rows.len(), count, "the number of rows under {filter:?}");
        let total = store.list(&query.with_limit(1).with_total()).await?.total;
        ensure_eq!(total, Some(count as u64), "the total under {filter:?}");
    }
    Ok(Outcome::Passed)
}

/// Parses each text as a media range.
fn ranges(texts: &[&str]) -> Result<Vec<MediaRange>, StoreError> {
    texts.iter().map(|text| text.parse()).collect()
}

async fn a_media_range_covers_what_it_says(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    // A stored media type may be any text. Databases differ in how their text functions treat some of these texts, but
    // every store must find the same rows.
    let types = [
        None,
        Some("text/plain"),
        Some("Text/PLAIN"),
        Some("text/plain; charset=utf-8"),
        Some("text/plain;format=flowed;charset=\"UTF-8\""),
        Some(" text/plain\t; format=flowed"),
        Some("text/plainer"),
        Some("text/plai_"),
        Some("text/%"),
        Some("text/pl\u{e4}in"),
        Some("text/K"),
        Some("text/\u{212a}"),
        Some("image/svg+xml"),
        Some("a/b;c=\\;d=e"),
        Some("a/b;c=x\\;d=e_"),
        Some("a/b;f=\"\u{1F600}%\""),
        Some("a/b;g=\"x\\\"y\""),
        Some("a\u{0}b"),
        Some("a/b\u{0};d=e"),
        Some("text/plain\ncharset"),
        Some("\\x74657874/plain"),
        Some(""),
        Some(";"),
    ];
    let mut all: Vec<Record> = Vec::new();
    for (n, media_type) in types.into_iter().enumerate() {
        let options = PutOptions { media_type: media_type.map(ToOwned::to_owned), ..PutOptions::default() };
        all.push(
            store.put(&scope, Body::from_bytes(random_bytes(ctx.seed + n as u64, 9)), options).await?.record,
        );
    }
    // Each list of media ranges, and the number of artifacts that match at least one of them.
    for (texts, count) in [
        (&["text/plain"][..], 5),
        (&["TEXT/plain"], 5),
        (&["text/plain; charset=utf-8"], 2),
        (&["text/plain; charset=utf-8; format=flowed"], 1),
        (&["text/plain; format=flowed"], 2),
        (&["text/plain; charset=utf"], 0),
        (&["text/*"], 12),
        (&["text/*; format=flowed", "image/*"], 3),
        (&["*/*"], 22),
        (&["*/*; d=e"], 2),
        (&["text/plai_"], 1),
        (&["text/%"], 1),
        (&["text/k"], 1),
        (&["a/b"], 4),
        (&["a/b; c=\"\\\\\""], 0),
        (&["a/b; d=e"], 1),
        (&["a/b; g=\"x\\\"y\""], 1),
        (&["a/b; f=\"\u{1F600}%\""], 1),
        (&["a/b; f=\"\u{1F601}%\""], 0),
        (&["a/*", "image/svg+xml", "text/plain; charset=utf-8", "x/y; z=1"], 8),
        (&["no/thing", "x/*"], 0),
    ] {
        let filter = Filter { media_types: ranges(texts)?, ..Filter::default() };
        let expected: BTreeSet<_> =
            all.iter().filter(|record| filter.matches(record)).map(|record| record.id.clone()).collect();
        ensure_eq!(
            expected.len(),
            count,
            "the number of matches that the check itself expects for {texts:?}"
        );
        let query = filter_query(&scope, filter);
        let rows = list_all_rows(&*store, &query, 4).await?;
        let got: BTreeSet<_> = rows.into_iter().map(|row| row.id).collect();
        ensure_eq!(got, expected, "the artifacts of {texts:?}");
        let total = store.list(&query.with_limit(1).with_total()).await?.total;
        ensure_eq!(total, Some(count as u64), "the total of {texts:?}");
    }
    Ok(Outcome::Passed)
}

async fn newest_come_first_and_ties_go_by_id(ctx: &CheckContext) -> CheckResult {
    let (store, clock) = open_with_clock(ctx).await?;
    let session = default_scope()?;
    // The clock goes forwards, goes backwards and stands still. Each id is put into two scopes with the same time.
    for (n, moment) in [5, 5, 5, 9, 1, 1, 7, 7, 7, 7, 3, 5, -4, 0].into_iter().enumerate() {
        clock.set(START_MICROS + moment);
        let bytes = random_bytes(ctx.seed + n as u64, 10);
        put(&*store, &session, &bytes).await?;
        put(&*store, &session.clone().with_task("k")?, &bytes).await?;
    }
    for limit in [1, 3, 1000] {
        let rows = list_all_rows(&*store, &ListQuery::new(ScopePattern::session_of(&session)), limit).await?;
        // 14 ids in two scopes.
        ensure_eq!(rows.len(), 28, "rows in pages of {limit}");
        for pair in rows.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            let newer = a.created_at > b.created_at;
            let tied = a.created_at == b.created_at;
            ensure!(
                newer || (tied && a.id < b.id) || (tied && a.id == b.id && Position::of(a) < Position::of(b)),
                "{} of {} is listed before {} of {}",
                a.id,
                a.created_at,
                b.id,
                b.created_at
            );
        }
    }
    Ok(Outcome::Passed)
}

async fn pages_cover_every_row_once(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let session = default_scope()?;
    let mut expected = BTreeSet::new();
    for n in 0..60 {
        expected.insert(put(&*store, &session, &random_bytes(ctx.seed + n, 8)).await?.record.id);
    }
    for limit in [1, 7, 20, 59, 60, 61] {
        let rows = list_all_rows(&*store, &scope_query(&session), limit).await?;
        ensure_eq!(rows.len(), 60, "rows in pages of {limit}");
        let got: BTreeSet<_> = rows.into_iter().map(|row| row.id).collect();
        ensure_eq!(got, expected, "ids in pages of {limit}");
    }
    Ok(Outcome::Passed)
}

async fn a_page_has_no_more_rows_than_its_limit(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let session = default_scope()?;
    for n in 0..12 {
        put(&*store, &session, &random_bytes(ctx.seed + n, 8)).await?;
    }
    // The limit of a page, its number of rows, and whether there is a next page.
    for (limit, rows, more) in [(1, 1, true), (11, 11, true), (12, 12, false), (13, 12, false)] {
        let page = store.list(&scope_query(&session).with_limit(limit)).await?;
        ensure_eq!(page.rows.len(), rows, "rows of a page of {limit}");
        ensure_eq!(page.next.is_some(), more, "whether a page of {limit} out of 12 rows has a next page");
    }
    Ok(Outcome::Passed)
}

async fn the_total_counts_every_match(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let session = default_scope()?;
    for n in 0..9 {
        put(&*store, &session, &random_bytes(ctx.seed + n, 8)).await?;
        put(&*store, &scope("acme", "ada", "s-2")?, &random_bytes(ctx.seed + n, 8)).await?;
    }
    ensure_eq!(store.list(&scope_query(&session)).await?.total, None, "the total that was not requested");
    let query = scope_query(&session).with_limit(4).with_total();
    let first = store.list(&query).await?;
    ensure_eq!(first.total, Some(9), "the total on the first page");
    let second = store.list(&query.with_cursor(first.next)).await?;
    ensure_eq!(second.total, Some(9), "the total on the second page");
    let all = store.list(&tenant_query("acme")?.with_limit(1).with_total()).await?;
    ensure_eq!(all.total, Some(18), "the tenant's total");
    Ok(Outcome::Passed)
}

async fn a_listing_of_nothing_is_an_empty_page(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    for query in
        [scope_query(&default_scope()?), tenant_query("acme")?, ListQuery::new(ScopePattern::all_tenants())]
    {
        let page = store.list(&query.with_total()).await?;
        ensure!(page.rows.is_empty() && page.next.is_none(), "an empty store lists rows: {page:?}");
        ensure_eq!(page.total, Some(0), "the total of an empty store");
    }
    Ok(Outcome::Passed)
}

async fn a_cursor_is_stable_under_puts_and_deletes(ctx: &CheckContext) -> CheckResult {
    let (store, clock) = open_with_clock(ctx).await?;
    let session = default_scope()?;
    let mut kept = BTreeSet::new();
    let mut to_delete = Vec::new();
    // Artifacts 0 and 1 have the same time, artifacts 2 and 3 too, and so on. A page has five rows, so some pages end
    // between two rows of the same time.
    let moments = (0_i64..).flat_map(|moment| [moment; 2]);
    for (n, moment) in (0..40_u64).zip(moments) {
        clock.set(START_MICROS + moment);
        let id = put(&*store, &session, &random_bytes(ctx.seed + n, 8)).await?.record.id;
        // A quarter of the rows is deleted during the listing.
        if n % 4 == 1 {
            to_delete.push(id);
        } else {
            kept.insert(id);
        }
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    for round in 0_u64.. {
        let page = store.list(&scope_query(&session).with_limit(5).with_cursor(cursor)).await?;
        seen.extend(page.rows.iter().map(|row| row.id.clone()));
        // Between two pages, put a newer row, an older row and a row with a time in between. Then delete a row of
        // `to_delete`. The cursor points at the last row of the page. If this row is not in `kept`, delete it, too.
        clock.set(START_MICROS + 1000);
        put(&*store, &session, &random_bytes(ctx.seed + 1000 + round, 8)).await?;
        clock.set(START_MICROS - 1000);
        put(&*store, &session, &random_bytes(ctx.seed + 2000 + round, 8)).await?;
        clock.set(START_MICROS + 10);
        put(&*store, &session, &random_bytes(ctx.seed + 3000 + round, 8)).await?;
        if let Some(id) = to_delete.pop() {
            store.delete(&session, &id).await?;
        }
        let last = page.rows.last().map(|row| row.id.clone());
        if let Some(id) = last.filter(|id| !kept.contains(id)) {
            store.delete(&session, &id).await?;
        }
        match page.next {
            // 60 rounds are enough to list all rows: each page has five rows, and a round adds at most two rows after
            // the cursor. A listing that does not end is stopped here.
            Some(next) if round < 60 => cursor = Some(next),
            _ => break,
        }
    }
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    ensure_eq!(unique.len(), seen.len(), "a row was listed twice: number of listed rows");
    let skipped: Vec<_> = kept.difference(&unique).collect();
    ensure!(skipped.is_empty(), "rows that existed the whole time were skipped: {skipped:?}");
    Ok(Outcome::Passed)
}

/// Puts three artifacts into the default scope, and returns the cursor after the first row of `query`.
async fn first_cursor(
    store: &dyn ArtifactStore,
    ctx: &CheckContext,
    query: &ListQuery,
) -> Result<Cursor, Failure> {
    let session = default_scope()?;
    for n in 0..3 {
        put(store, &session, &random_bytes(ctx.seed + n, 8)).await?;
    }
    let page = store.list(&query.clone().with_limit(1)).await?;
    page.next.ok_or_else(|| Failure::new("a page of 1 out of 3 rows has no cursor"))
}

fn is_invalid_argument(kind: ErrorKind) -> bool {
    kind == ErrorKind::InvalidArgument
}

async fn an_altered_cursor_is_refused(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let query = scope_query(&default_scope()?).with_limit(1);
    // With the total, the cursor of a gate contains one more number.
    for query in [query.clone(), query.with_total()] {
        let cursor = first_cursor(&*store, ctx, &query).await?;
        ensure_altered_cursors_are_refused(&*store, &query, &cursor).await?;
    }
    Ok(Outcome::Passed)
}

/// Fails if `store` accepts an altered `cursor` of `query`, or if it refuses the unaltered cursor.
async fn ensure_altered_cursors_are_refused(
    store: &dyn ArtifactStore,
    query: &ListQuery,
    cursor: &Cursor,
) -> Result<(), Failure> {
    let mut forged: Vec<String> =
        ["", "x", "AAAA", "not base64 !", "\u{1F600}"].map(ToOwned::to_owned).into();
    // A driver without the gate returns cursors that have no text. It must refuse every text.
    if let Some(text) = cursor.as_text() {
        ensure!(
            store.list(&query.clone().with_cursor(Some(cursor.clone()))).await.is_ok(),
            "the unaltered cursor is refused"
        );
        // Replace each character once.
        for n in 0..text.len() {
            let mut altered = text.as_bytes().to_vec();
            altered[n] = if altered[n] == b'A' { b'B' } else { b'A' };
            forged.push(String::from_utf8(altered)?);
        }
        forged.push(text[..text.len() - 1].to_owned());
        forged.push(format!("{text}A"));
        forged.push(format!("{text}AAAA"));
    }
    for text in forged {
        let query = query.clone().with_cursor(Some(Cursor::from_text(text.clone())));
        // The last digit of a base64 text may hold unused bits. A text that differs only in these bits decodes to the
        // same bytes, so the decoder must refuse it too.
        ensure_error_kind(
            store.list(&query).await,
            is_invalid_argument,
            &format!("listing with the cursor {text:?}"),
        )?;
    }
    Ok(())
}

async fn a_cursor_of_another_query_is_refused(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let session = default_scope()?;
    let cursor = first_cursor(&*store, ctx, &scope_query(&session)).await?;
    let others = [
        ("another task", scope_query(&session.clone().with_task("t-1")?)),
        ("any task", ListQuery::new(ScopePattern::session_of(&session))),
        ("another tenant", scope_query(&scope("acme2", "ada", "s-1")?)),
        ("the whole tenant", tenant_query("acme")?),
        ("all tenants", ListQuery::new(ScopePattern::all_tenants())),
        ("a filter", filter_query(&session, Filter { min_bytes: Some(0), ..Filter::default() })),
        ("a tag", filter_query(&session, Filter { tags: vec![String::new()], ..Filter::default() })),
    ];
    for (what, query) in others {
        let query = query.with_cursor(Some(cursor.clone()));
        ensure_error_kind(
            store.list(&query).await,
            is_invalid_argument,
            &format!("listing {what} with the cursor"),
        )?;
    }
    let larger = scope_query(&session).with_limit(9).with_cursor(Some(cursor));
    ensure_eq!(store.list(&larger).await?.rows.len(), 2, "rows of the next page with another limit");
    Ok(Outcome::Passed)
}
