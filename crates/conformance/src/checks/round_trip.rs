//! What is put comes back: bytes of every size, and everything said about them.

use artifact_store_core::{
    ArtifactStoreExt, Body, Digest, MAX_METADATA_DEPTH, MAX_OPTIONS_BYTES, Namespace, PutOptions, PutOutcome,
    Source, TEXT_MEDIA_TYPE,
};
use bytes::Bytes;

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq};
use crate::kit::{KIB, MIB, all_rows, bytes, drain, exactly, flowing, generated, home, measure};

group! { "round trip":
    nothing_comes_back_as_nothing,
    one_byte_comes_back,
    just_under_64_kib_comes_back,
    exactly_64_kib_come_back,
    just_over_64_kib_come_back,
    five_mib_come_back,
    a_stream_of_64_mib_comes_back,
    a_stream_of_tiny_pieces_comes_back,
    an_announced_digest_and_length_are_accepted,
    the_record_says_all_that_was_said,
    options_of_the_largest_size_come_back,
    a_text_comes_back_as_a_text,
}

/// Puts `length` bytes at hand and others as a stream, and reads both back.
async fn round_trip(lab: &Lab, length: usize) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let mut before = None;
    for (how, seed) in [("at hand", lab.seed), ("as a stream", lab.seed + 1)] {
        let bytes = bytes(seed, length);
        // Zero bytes are the same artifact twice, and so is one byte now and then.
        let stands = before.replace(bytes.clone()).as_ref() == Some(&bytes);
        let due = if stands { PutOutcome::StoodAlready } else { PutOutcome::Created };
        let body = if how == "at hand" { Body::from_bytes(bytes.clone()) } else { flowing(&bytes, 48 * KIB) };
        let put = store.put(&scope, body, PutOptions::default()).await?;
        ensure_eq!(put.outcome, due, "putting {length} bytes {how}");
        ensure_eq!(put.record.size, length as u64, "the size of {length} bytes {how}");
        ensure_eq!(put.record.digest, Digest::of(&bytes), "the digest of {length} bytes {how}");
        let get = store.get(&scope, &put.record.id, None).await?;
        let get = get.ok_or_else(|| Failure::new(format!("{length} bytes {how} are not there")))?;
        ensure_eq!(get.range, 0..length as u64, "the range of {length} bytes {how}");
        ensure_eq!(get.record, put.record, "the record of {length} bytes {how} on get");
        ensure!(drain(get).await? == bytes, "{length} bytes {how} came back as others");
        let stat = store.stat(&scope, &put.record.id).await?;
        ensure_eq!(stat.as_ref(), Some(&put.record), "the record of {length} bytes {how} on stat");
    }
    Ok(Outcome::Passed)
}

async fn nothing_comes_back_as_nothing(lab: &Lab) -> CheckResult {
    round_trip(lab, 0).await
}

async fn one_byte_comes_back(lab: &Lab) -> CheckResult {
    round_trip(lab, 1).await
}

async fn just_under_64_kib_comes_back(lab: &Lab) -> CheckResult {
    round_trip(lab, 64 * KIB - 1).await
}

async fn exactly_64_kib_come_back(lab: &Lab) -> CheckResult {
    round_trip(lab, 64 * KIB).await
}

async fn just_over_64_kib_come_back(lab: &Lab) -> CheckResult {
    round_trip(lab, 64 * KIB + 1).await
}

async fn five_mib_come_back(lab: &Lab) -> CheckResult {
    round_trip(lab, 5 * MIB).await
}

async fn a_stream_of_64_mib_comes_back(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let (body, digest) = generated(lab.seed, 128, MIB / 2);
    let put = store.put(&scope, body, PutOptions::default()).await?;
    ensure_eq!((put.record.size, put.record.digest), (64 * MIB as u64, digest), "size and digest");
    let get = store.get(&scope, &put.record.id, None).await?;
    let get = get.ok_or_else(|| Failure::new("the 64 MiB are not there"))?;
    ensure_eq!(measure(get).await?, (64 * MIB as u64, digest), "length and digest read back");
    Ok(Outcome::Passed)
}

async fn a_stream_of_tiny_pieces_comes_back(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 20 * KIB + 3);
    let put = store.put(&scope, flowing(&bytes, 7), PutOptions::default()).await?;
    let get = store.get(&scope, &put.record.id, None).await?;
    let get = get.ok_or_else(|| Failure::new("the artifact is not there"))?;
    ensure!(drain(get).await? == bytes, "pieces of 7 bytes came back as other bytes");
    Ok(Outcome::Passed)
}

async fn an_announced_digest_and_length_are_accepted(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for (n, length) in [1, 64 * KIB, 3 * MIB].into_iter().enumerate() {
        let bytes = bytes(lab.seed + n as u64, length);
        let body = flowing(&bytes, 10_000).with_digest(Digest::of(&bytes)).with_length(length as u64);
        let put = store.put(&scope, body, PutOptions::default()).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "a stream of {length} bytes as announced");
        let body = Body::from_bytes(bytes.clone()).with_digest(Digest::of(&bytes));
        let put = store.put(&scope, body, PutOptions::default()).await?;
        ensure_eq!(put.outcome, PutOutcome::StoodAlready, "{length} bytes at hand as announced");
    }
    Ok(Outcome::Passed)
}

async fn the_record_says_all_that_was_said(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?.with_task("t-1")?;
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
    let serde_json::Value::Object(metadata) = metadata else { return Err(Failure::new("no object")) };
    for (n, source) in Source::ALL.iter().enumerate() {
        for (m, text) in texts.iter().enumerate() {
            let options = PutOptions {
                namespace: Namespace::new(format!("Name.space_{n}-{m}"))?,
                media_type: Some((*text).to_owned()),
                filename: Some((*text).to_owned()),
                source: *source,
                tags: vec![(*text).to_owned(), "second".to_owned(), "second".to_owned()],
                metadata: metadata.clone(),
            };
            let put = store.put(&scope, Body::from("said"), options.clone()).await?;
            ensure_eq!(put.record.options, options, "the options that put answers");
            let stat = store.stat(&scope, &put.record.id).await?;
            let stat = stat.ok_or_else(|| Failure::new("the artifact is not there"))?;
            ensure_eq!(stat, put.record, "the record that stat answers");
            ensure_eq!(stat.scope, scope, "the record's scope");
        }
    }
    let bare = store.put(&scope, Body::from("bare"), PutOptions::default()).await?;
    let stat = store.stat(&scope, &bare.record.id).await?;
    ensure_eq!(stat.map(|record| record.options), Some(PutOptions::default()), "options that say nothing");
    Ok(Outcome::Passed)
}

/// The Gate lets options through up to a size and a depth; every driver stores what it lets through.
async fn options_of_the_largest_size_come_back(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let mut deep = serde_json::json!("bottom");
    // The metadata itself is the first container.
    for depth in 1..MAX_METADATA_DEPTH {
        deep = if depth % 2 == 0 { serde_json::json!([deep]) } else { serde_json::json!({ "deeper": deep }) };
    }
    let mut options = PutOptions { filename: Some(String::new()), ..PutOptions::default() };
    options.metadata.insert("deep".into(), deep);
    let room = MAX_OPTIONS_BYTES - serde_json::to_vec(&options)?.len();
    options.filename = Some("x".repeat(room));
    ensure!(options.check().is_ok(), "the check's own options are over the bound");
    let put = store.put(&scope, Body::from("large options"), options.clone()).await?;
    let stat = store.stat(&scope, &put.record.id).await?;
    ensure!(
        stat.is_some_and(|record| record.options == options),
        "options of {MAX_OPTIONS_BYTES} bytes came back otherwise"
    );
    let rows = all_rows(&*store, &exactly(&scope), 10).await?;
    ensure!(
        rows.len() == 1 && rows[0].options == options,
        "options of {MAX_OPTIONS_BYTES} bytes are listed otherwise"
    );
    Ok(Outcome::Passed)
}

async fn a_text_comes_back_as_a_text(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
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
        "bytes that are no text came back as one"
    );
    ensure!(
        store.get_bytes(&scope, &put.record.id, 1).await.is_err(),
        "2 bytes came back where 1 was the most"
    );
    Ok(Outcome::Passed)
}
