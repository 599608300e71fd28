//! Tests of the migrations: stores of earlier versions with artifacts, as the builds of that time wrote them.

use artifact_store_backends::Postgres;
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, ByteRange, Bytes, Clock, Digest, ErrorKind, EventLog, Filter, Gate,
    GateOptions, ListQuery, NewEntry, PutOptions, Record, Scope, ScopeMark, ScopePattern, SweepMode,
    SystemClock,
};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use super::*;
use crate::config::PostgresConfig;
use crate::event_log::PostgresEventLog;
use crate::store::PostgresStore;

/// The chunk size of the versions 1 and 2.
const OLD_CHUNK_BYTES: usize = 256 * 1024;

fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Bytes {
    (0..length).map(|n| u8::try_from((n * 7 + n / 251) % 251).unwrap()).collect::<Vec<u8>>().into()
}

/// Creates a schema of `version`. Returns the configuration of its store, and a connection to it.
async fn create_schema(server: &Postgres, version: usize) -> (PostgresConfig, PgConnection) {
    let name = format!("migration{}_{version}", SystemClock.now().as_micros());
    let config = PostgresConfig::new(server.url()).schema(&name);
    let options: sqlx::postgres::PgConnectOptions = server.url().parse().unwrap();
    let mut conn = options.options([("search_path", &name)]).connect().await.unwrap();
    let statements = MIGRATIONS[..version].concat();
    for sql in [
        format!("CREATE SCHEMA {name}"),
        statements,
        format!("UPDATE artifact_store_version SET version = {version}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    }
    (config, conn)
}

/// Inserts an artifact as the versions 1 and 2 did.
async fn insert_old(conn: &mut PgConnection, blob: i64, bytes: &Bytes) -> Record {
    let options = PutOptions::default().with_media_type("text/plain").with_tag("a");
    let record = Record::new(scope(), options, Digest::of(bytes), bytes.len() as u64, SystemClock.now());
    let json = serde_json::to_string(&record).unwrap();
    sqlx::query(
        "INSERT INTO artifact (blob, put, rank, size, scope_mark, id, tenant, user_, session, task, source,
             media_type, tags, digest, record_digest, record)
         VALUES ($1, 7, $2, $3, $4, $5, 'acme', 'ada', 's-1', NULL, 'user_upload', 'text/plain', ARRAY['a'::bytea], $6, $7, $8)",
    )
    .bind(blob)
    .bind(-record.created_at.as_micros())
    .bind(i64::try_from(bytes.len()).unwrap())
    .bind(ScopeMark::of(&record.scope).as_bytes().to_vec())
    .bind(record.id.as_str())
    .bind(&record.digest.as_bytes()[..])
    .bind(&Digest::of(json.as_bytes()).as_bytes()[..])
    .bind(&json)
    .execute(&mut *conn)
    .await
    .unwrap();
    for (place, chunk) in bytes.chunks(OLD_CHUNK_BYTES).enumerate() {
        sqlx::query("INSERT INTO chunk (blob, place, data) VALUES ($1, $2, $3)")
            .bind(blob)
            .bind(i32::try_from(place).unwrap())
            .bind(chunk)
            .execute(&mut *conn)
            .await
            .unwrap();
    }
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn the_artifacts_of_earlier_versions_are_read_and_checked_after_the_migration_by_one_of_many() {
    let server = Postgres::shared().await.unwrap();
    for version in 1..MIGRATIONS.len() {
        let (config, mut conn) = create_schema(server, version).await;
        let mut old = Vec::new();
        for (blob, length) in (100..).zip([0, 1, 20_000, OLD_CHUNK_BYTES, 3 * OLD_CHUNK_BYTES + 5, 5_000_000])
        {
            let bytes = bytes(length);
            old.push((insert_old(&mut conn, blob, &bytes).await, bytes));
        }
        let stores = join_all((0..8).map(|_| PostgresStore::open(config.clone()))).await;
        let mut stores: Vec<_> = stores.into_iter().map(Result::unwrap).collect();
        let store = Gate::new(std::sync::Arc::new(stores.pop().unwrap()), GateOptions::default()).unwrap();
        for (record, bytes) in &old {
            assert_eq!(store.stat(&scope(), &record.id).await.unwrap().as_ref(), Some(record));
            let whole = store.get_bytes(&scope(), &record.id, u64::MAX).await.unwrap();
            assert_eq!(whole.as_ref(), Some(bytes), "{}", record.size);
            for range in [0..1, 262_143..262_145, 524_288..786_432, 4_000_000..4_500_000] {
                let get = store.get(&scope(), &record.id, Some(ByteRange::from(range.clone()))).await;
                let got = get.unwrap().unwrap().stream.collect_bytes(u64::MAX).await.unwrap();
                let limit = |offset: u64| usize::try_from(offset.min(record.size)).unwrap();
                assert_eq!(
                    got,
                    bytes.slice(limit(range.start)..limit(range.end)),
                    "{} {range:?}",
                    record.size
                );
            }
        }
        // Listings, totals and filters contain the old artifacts, and new ones beside them.
        store.put_bytes(&scope(), "new", PutOptions::default().with_tag("b")).await.unwrap();
        for (filter, expected) in
            [(Filter::new(), 7), (Filter::new().with_tag("a"), 6), (Filter::new().with_tag("b"), 1)]
        {
            let query = ListQuery::new(ScopePattern::exactly(&scope())).with_filter(filter).with_total();
            let page = store.list(&query).await.unwrap();
            assert_eq!((page.rows.len(), page.total), (expected, Some(expected as u64)));
        }
        // The event log works.
        let log = PostgresEventLog::open(config.clone()).await.unwrap();
        let entry = NewEntry { key: [1; 16], bytes: "entry".into() };
        assert_eq!(log.append(&[entry]).await.unwrap(), 1);
        log.close().await;
        // A sweep keeps the old chunks.
        assert_eq!(stores[0].sweep(SweepMode::Delete).await.unwrap().leftovers, 0);
        // An altered old chunk is found.
        let flip =
            "UPDATE chunk SET data = set_byte(data, 9, get_byte(data, 9) # 1) WHERE blob = 105 AND place = 7";
        sqlx::raw_sql(flip).execute(&mut conn).await.unwrap();
        let altered = store.get_bytes(&scope(), &old[5].0.id, u64::MAX).await;
        assert_eq!(altered.unwrap_err().kind(), ErrorKind::Corrupt);
        for (record, _) in &old {
            assert!(store.delete(&scope(), &record.id).await.unwrap());
        }
        assert_eq!(sqlx::query("SELECT 1 FROM chunk").fetch_all(&mut conn).await.unwrap().len(), 0);
        store.close().await.unwrap();
        for store in stores {
            store.close().await.unwrap();
        }
        let drop = format!("SET client_min_messages = error; DROP SCHEMA {} CASCADE", config.schema);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
    }
}
