//! Range reads: the bytes, the range that was served, and the total size.

use artifact_store_core::{ByteRange, PutOptions};

use super::check_group;
use crate::bodies::{chunked_body, generated_body, read_to_end};
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq};
use crate::fixtures::{KIB, MIB, Rng, default_scope, put, random_bytes};

check_group! { "ranges":
    every_shape_of_range_serves_its_bytes,
    an_empty_artifact_has_only_empty_ranges,
    a_window_in_64_mib_is_served,
}

async fn every_shape_of_range_serves_its_bytes(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for length in [1_000_usize, 700 * KIB] {
        let bytes = random_bytes(ctx.seed, length);
        let id = store.put(&scope, chunked_body(&bytes, 30 * KIB), PutOptions::default()).await?.record.id;
        let n = length as u64;
        // The name of a range, the range of the request, and the range that the store must serve.
        let shapes: &[(&str, ByteRange, std::ops::Range<usize>)] = &[
            ("the first byte", (0..1).into(), 0..1),
            ("the last byte", (n - 1..n).into(), length - 1..length),
            ("the last byte as a suffix", ByteRange::Suffix(1), length - 1..length),
            ("the middle", (100..900).into(), 100..900),
            ("all", (0..n).into(), 0..length),
            ("all, open", (0..).into(), 0..length),
            ("all but the first", (1..).into(), 1..length),
            ("all but the last", (0..n - 1).into(), 0..length - 1),
            ("a suffix", ByteRange::Suffix(333), length - 333..length),
            ("a suffix longer than all", ByteRange::Suffix(n + 1), 0..length),
            ("an empty suffix", ByteRange::Suffix(0), length..length),
            ("nothing in the middle", (500..500).into(), 500..500),
            ("backwards", ByteRange::Bounded { start: 600, end: 500 }, 600..600),
            ("beyond the end", (900..u64::MAX).into(), 900..length),
            ("from the end", (n..).into(), length..length),
            ("past the end", (n + 1..n + 10).into(), length..length),
            ("far past the end", (u64::MAX..).into(), length..length),
            // A driver may store an artifact in chunks, for example of 256 KiB. For the artifact of 1000 bytes, this
            // range is empty.
            ("across 256 KiB", (256 * 1024 - 1..256 * 1024 + 1).into(), {
                (256 * KIB - 1).min(length)..(256 * KIB + 1).min(length)
            }),
        ];
        for (shape, range, expected) in shapes {
            let get = store.get(&scope, &id, Some(*range)).await?;
            let get = get.ok_or_else(|| Failure::new(format!("{shape}: the artifact does not exist")))?;
            ensure_eq!(
                get.range,
                expected.start as u64..expected.end as u64,
                "{shape} of {length}: the range served"
            );
            ensure_eq!(get.record.size, n, "{shape} of {length}: the total");
            let expected = bytes.slice(expected.clone());
            ensure!(read_to_end(get).await? == expected, "{shape} of {length}: get returned other bytes");
        }
    }
    Ok(Outcome::Passed)
}

async fn an_empty_artifact_has_only_empty_ranges(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let id = put(&*store, &scope, &random_bytes(0, 0)).await?.record.id;
    for range in [(0..1).into(), (0..).into(), ByteRange::Suffix(1), (5..9).into()] {
        let get = store.get(&scope, &id, Some(range)).await?;
        let get = get.ok_or_else(|| Failure::new("the artifact does not exist"))?;
        ensure_eq!(get.range, 0..0, "{range:?} of an empty artifact");
        ensure!(read_to_end(get).await?.is_empty(), "{range:?} of an empty artifact has bytes");
    }
    Ok(Outcome::Passed)
}

/// A window is a range of 64 KiB in an artifact of 64 MiB.
async fn a_window_in_64_mib_is_served(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let chunk_size = MIB / 2;
    // 128 chunks of 512 KiB are 64 MiB.
    let (body, _digest) = generated_body(ctx.seed, 128, chunk_size);
    let id = store.put(&scope, body, PutOptions::default()).await?.record.id;
    let mut random = Rng::new(ctx.seed);
    for round in 0..24 {
        // The first and the last window, then random windows.
        let start = match round {
            0 => 0,
            1 => 64 * MIB - 64 * KIB,
            _ => random.below(64 * MIB - 64 * KIB),
        };
        let end = start + 64 * KIB;
        let get = store.get(&scope, &id, Some((start as u64..end as u64).into())).await?;
        let get = get.ok_or_else(|| Failure::new("the artifact does not exist"))?;
        ensure_eq!(get.range, start as u64..end as u64, "the window served");
        // The body is not in memory. So the chunks that contain the window are generated again, to compare the bytes.
        let (first_chunk, last_chunk) = (start / chunk_size, (end - 1) / chunk_size);
        let mut chunks: Vec<u8> = Vec::new();
        for n in first_chunk..=last_chunk {
            chunks.extend_from_slice(&random_bytes(ctx.seed + n as u64, chunk_size));
        }
        let chunks_start = first_chunk * chunk_size;
        let expected = &chunks[start - chunks_start..end - chunks_start];
        ensure!(read_to_end(get).await? == expected, "the window at {start} has other bytes");
    }
    Ok(Outcome::Passed)
}
