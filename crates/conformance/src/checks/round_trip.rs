//! Round trips: get returns the bytes and the options that were put, for every size.

use artifact_store_core::{
    ArtifactStoreExt, Body, Digest, MAX_METADATA_DEPTH, MAX_OPTIONS_BYTES, Namespace, PutOptions, PutOutcome,
    Source, TEXT_MEDIA_TYPE,
};
use bytes::Bytes;

use super::check_group;
use crate::bodies::{chunked_body, generated_body, read_to_end, size_and_digest};
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq};
use crate::fixtures::{KIB, MIB, default_scope, list_all_rows, random_bytes, scope_query};

check_group! { "round trip":
    nothing_comes_back_as_nothing,
    one_byte_comes_back,
    just_under_64_kib_comes_back,
    exactly_64_kib_come_back,
    just_over_64_kib_come_back,
    five_mib_come_back,
    a_stream_of_64_mib_comes_back,
    a_stream_of_tiny_chunks_comes_back,
    an_announced_digest_and_length_are_accepted,
    the_record_has_every_put_option,
    options_of_the_largest_size_come_back,
    a_text_comes_back_as_a_text,
}

/// Puts `length` bytes from memory and `length` other bytes as a stream, and reads both.
async fn round_trip(ctx: &CheckContext, length: usize) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let mut bytes_before: Option<Bytes> = None;
    for (how, is_stream, seed) in [("in memory", false, ctx.seed), ("as a stream", true, ctx.seed + 1)] {
        let bytes = random_bytes(seed, length);
        // Equal bodies are the same artifact. With a length of 0, both bodies are equal. With a length of 1, they may
        // be equal by chance.
        let exists = bytes_before.as_ref() == Some(&bytes);
        bytes_before = Some(bytes.clone());
        let expected = if exists { PutOutcome::AlreadyExists } else { PutOutcome::Created };
        let body = if is_stream { chunked_body(&bytes, 48 * KIB) } else { Body::from_bytes(bytes.clone()) };
        let put = store.put(&scope, body, PutOptions::default()).await?;
        ensure_eq!(put.outcome, expected, "putting {length} bytes {how}");
        ensure_eq!(put.record.size, length as u64, "the size of {length} bytes {how}");
        ensure_eq!(put.record.digest, Digest::of(&bytes), "the digest of {length} bytes {how}");
        let get = store.get(&scope, &put.record.id, None).await?;
        let get =
            get.ok_or_else(|| Failure::new(format!("the artifact of {length} bytes {how} does not exist")))?;
        ensure_eq!(get.range, 0..length as u64, "the range of {length} bytes {how}");
        ensure_eq!(get.record, put.record, "the record of {length} bytes {how} on get");
        ensure!(read_to_end(get).await? == bytes, "reading {length} bytes {how} returned other bytes");
        let stat = store.stat(&scope, &put.record.id).await?;
        ensure_eq!(stat.as_ref(), Some(&put.record), "the record of {length} bytes {how} on stat");
    }
    Ok(Outcome::Passed)
}

async fn nothing_comes_back_as_nothing(ctx: &CheckContext) -> CheckResult {
    round_trip(ctx, 0).await
}

async fn one_byte_comes_back(ctx: &CheckContext) -> CheckResult {
    round_trip(ctx, 1).await
}

async fn just_under_64_kib_comes_back(ctx: &CheckContext) -> CheckResult {
    round_trip(ctx, 64 * KIB - 1).await
}

async fn exactly_64_kib_come_back(ctx: &CheckContext) -> CheckResult {
    round_trip(ctx, 64 * KIB).await
}

async fn just_over_64_kib_come_back(ctx: &CheckContext) -> CheckResult {
    round_trip(ctx, 64 * KIB + 1).await
}

async fn five_mib_come_back(ctx: &CheckContext) -> CheckResult {
    round_trip(ctx, 5 * MIB).await
}

async fn a_stream_of_64_mib_comes_back(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let (body, digest) = generated_body(ctx.seed, 128, MIB / 2);
    let put = store.put(&scope, body, PutOptions::default()).await?;
    ensure_eq!((put.record.size, put.record.digest), (64 * MIB as u64, digest), "size and digest");
    let get = store.get(&scope, &put.record.id, None).await?;
    let get = get.ok_or_else(|| Failure::new("the artifact of 64 MiB does not exist"))?;
    ensure_eq!(size_and_digest(get).await?, (64 * MIB as u64, digest), "length and digest read back");
    Ok(Outcome::Passed)
}

async fn a_stream_of_tiny_chunks_comes_back(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 20 * KIB + 3);
    let put = store.put(&scope, chunked_body(&bytes, 7), PutOptions::default()).await?;
    let get = store.get(&scope, &put.record.id, None).await?;
    let get = get.ok_or_else(|| Failure::new("the artifact does not exist"))?;
    ensure!(read_to_end(get).await? == bytes, "a stream with chunks of 7 bytes came back as other bytes");
    Ok(Outcome::Passed)
}

async fn an_announced_digest_and_length_are_accepted(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for (n, length) in [1, 64 * KIB, 3 * MIB].into_iter().enumerate() {
        let bytes = random_bytes(ctx.seed + n as u64, length);
        let body = chunked_body(&bytes, 10_000).with_digest(Digest::of(&bytes)).with_length(length as u64);
        let put = store.put(&scope, body, PutOptions::default()).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "a stream of {length} bytes as announced");
        let body = Body::from_bytes(bytes.clone()).with_digest(Digest::of(&bytes));
        let put = store.put(&scope, body, PutOptions::default()).await?;
        ensure_eq!(put.outcome, PutOutcome::AlreadyExists, "{length} bytes in memory as announced");
    }
    Ok(Outcome::Passed)
}

async fn the_record_has_every_put_option(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?.with_task("t-1")?;
    let texts = [
        "",
        "plain",
        "\u{1F600} emoji",
        "quote ' \" `",
        "back\\slash",
        "line\nbreak\r\ttab",
        "nul \u{0} inside",
        "%s %d",
        "\u{202e}bidi",
        "{\"json\": [1]}",
        "ünïcödé e\u{301}",
    ];
    let metadata = serde_json::json!({
        "null": null, "true": true, "zero": 0, "least": i64::MIN, "most": u64::MAX, "third": 0.1, "tiny": 5e-324,
        "huge": f64::MAX, "negative": -1.5, "list": [1, "two", [3.0, null]], "map": {"": {"\u{0}": "x"}},
        "texts": texts,
    });
    let serde_json::Value::Object(metadata) = metadata else {
        return Err(Failure::new("the metadata of the check itself is not an object"));
    };
    for (n, source) in Source::ALL.iter().enumerate() {
        for (m, text) in texts.iter().enumerate() {
            let options = PutOptions {
                namespace: Namespace::new(format!("Name.space_{n}-{m}"))?,
                media_type: Some((*text).to_owned()),
                filename: Some((*text).to_owned()),
                source: *source,
                // A tag may occur twice.
                tags: vec![(*text).to_owned(), "second".to_owned(), "second".to_owned()],
                metadata: metadata.clone(),
            };
            let put = store.put(&scope, Body::from("said"), options.clone()).await?;
            ensure_eq!(put.record.options, options, "the options that put returns");
            let stat = store.stat(&scope, &put.record.id).await?;
            let stat = stat.ok_or_else(|| Failure::new("the artifact does not exist"))?;
            ensure_eq!(stat, put.record, "the record that stat returns");
            ensure_eq!(stat.scope, scope, "the record's scope");
        }
    }
    let bare = store.put(&scope, Body::from("bare"), PutOptions::default()).await?;
    let stat = store.stat(&scope, &bare.record.id).await?;
    ensure_eq!(stat.map(|record| record.options), Some(PutOptions::default()), "the default options");
    Ok(Outcome::Passed)
}

/// The gate accepts options up to the largest size and depth. Every driver must store what the gate accepts.
async fn options_of_the_largest_size_come_back(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let mut deep = serde_json::json!("bottom");
    // The metadata itself is the first container, so the loop adds one container less than the largest depth.
    for depth in 1..MAX_METADATA_DEPTH {
        deep = if depth % 2 == 0 { serde_json::json!([deep]) } else { serde_json::json!({ "deeper": deep }) };
    }
    let mut options = PutOptions { filename: Some(String::new()), ..PutOptions::default() };
    options.metadata.insert("deep".into(), deep);
    // With a file name of this many letters, the options have exactly the largest size.
    let remaining = MAX_OPTIONS_BYTES - serde_json::to_vec(&options)?.len();
    options.filename = Some("x".repeat(remaining));
    ensure!(options.validate().is_ok(), "the options of the check itself are over the limit");
    let put = store.put(&scope, Body::from("large options"), options.clone()).await?;
    let stat = store.stat(&scope, &put.record.id).await?;
    ensure!(
        stat.is_some_and(|record| record.options == options),
        "stat returns other options than the {MAX_OPTIONS_BYTES} bytes that were put"
    );
    let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
    ensure!(
        rows.len() == 1 && rows[0].options == options,
        "list returns other options than the {MAX_OPTIONS_BYTES} bytes that were put"
    );
    Ok(Outcome::Passed)
}

async fn a_text_comes_back_as_a_text(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let text = "Zażółć gęślą jaźń \u{1F600}\nsecond line";
    let put = store.put_text(&scope, text, PutOptions::default()).await?;
    ensure_eq!(put.record.options.media_type.as_deref(), Some(TEXT_MEDIA_TYPE), "a text's media type");
    let back = store.get_text(&scope, &put.record.id, 1024).await?;
    ensure_eq!(back.as_deref(), Some(text), "the text");
    let csv = PutOptions { media_type: Some("text/csv".into()), ..PutOptions::default() };
    let put = store.put_text(&scope, "a,b", csv).await?;
    ensure_eq!(put.record.options.media_type.as_deref(), Some("text/csv"), "a media type that was given");
    let put = store.put_bytes(&scope, Bytes::from_static(b"\xff\xfe"), PutOptions::default()).await?;
    ensure!(
        store.get_text(&scope, &put.record.id, 1024).await.is_err(),
        "get_text returned bytes that are not UTF-8"
    );
    ensure!(
        store.get_bytes(&scope, &put.record.id, 1).await.is_err(),
        "get_bytes returned 2 bytes with a limit of 1"
    );
    Ok(Outcome::Passed)
}
