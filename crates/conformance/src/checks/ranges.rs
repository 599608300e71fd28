//! Reads of a part: the right bytes, the range that was served, and the truth about the total.

use artifact_store_core::{ByteRange, PutOptions};

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq};
use crate::kit::{KIB, MIB, Random, bytes, drain, flowing, generated, home, put};

group! { "ranges":
    every_shape_of_range_serves_its_bytes,
    an_empty_artifact_has_only_empty_ranges,
    a_window_of_64_mib_is_served,
}

async fn every_shape_of_range_serves_its_bytes(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for length in [1_000_usize, 700 * KIB] {
        let bytes = bytes(lab.seed, length);
        let id = store.put(&scope, flowing(&bytes, 30 * KIB), PutOptions::default()).await?.record.id;
        let n = length as u64;
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
            ("across 256 KiB", (256 * 1024 - 1..256 * 1024 + 1).into(), {
                (256 * KIB - 1).min(length)..(256 * KIB + 1).min(length)
            }),
        ];
        for (shape, range, due) in shapes {
            let get = store.get(&scope, &id, Some(*range)).await?;
            let get = get.ok_or_else(|| Failure::new(format!("{shape}: nothing is there")))?;
            ensure_eq!(get.range, due.start as u64..due.end as u64, "{shape} of {length}: the range served");
            ensure_eq!(get.record.size, n, "{shape} of {length}: the total");
            let due = bytes.slice(due.clone());
            ensure!(drain(get).await? == due, "{shape} of {length}: other bytes came back");
        }
    }
    Ok(Outcome::Passed)
}

async fn an_empty_artifact_has_only_empty_ranges(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let id = put(&*store, &scope, &bytes(0, 0)).await?.record.id;
    for range in [(0..1).into(), (0..).into(), ByteRange::Suffix(1), (5..9).into()] {
        let get = store.get(&scope, &id, Some(range)).await?;
        let get = get.ok_or_else(|| Failure::new("nothing is there"))?;
        ensure_eq!(get.range, 0..0, "{range:?} of an empty artifact");
        ensure!(drain(get).await?.is_empty(), "{range:?} of an empty artifact has bytes");
    }
    Ok(Outcome::Passed)
}

async fn a_window_of_64_mib_is_served(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let piece = MIB / 2;
    let (body, _) = generated(lab.seed, 128, piece);
    let id = store.put(&scope, body, PutOptions::default()).await?.record.id;
    let mut random = Random::new(lab.seed);
    for round in 0..24 {
        // The first and the last window, then random ones.
        let start = match round {
            0 => 0,
            1 => 64 * MIB - 64 * KIB,
            _ => random.below(64 * MIB - 64 * KIB),
        };
        let end = start + 64 * KIB;
        let get = store.get(&scope, &id, Some((start as u64..end as u64).into())).await?;
        let get = get.ok_or_else(|| Failure::new("nothing is there"))?;
        ensure_eq!(get.range, start as u64..end as u64, "the window served");
        let (first, last) = (start / piece, (end - 1) / piece);
        let around: Vec<u8> =
            (first..=last).flat_map(|n| bytes(lab.seed + n as u64, piece).to_vec()).collect();
        let due = &around[start - first * piece..end - first * piece];
        ensure!(drain(get).await? == due, "the window at {start} has other bytes");
    }
    Ok(Outcome::Passed)
}
