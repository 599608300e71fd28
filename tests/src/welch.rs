//! Compares two series of measurements with Welch's t-test, raw and without the slowest.
//!
//! This module must never know what was measured.

/// The result of comparing two series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The number of measurements in the shorter series.
    pub n: usize,
    /// The mean of the second series.
    pub mean: f64,
    /// How much larger the mean of the first series is.
    pub shift: f64,
    /// Welch's t: the shift in units of its standard error.
    pub t: f64,
}

/// Compares two series as they are.
#[allow(clippy::cast_precision_loss)] // Counts are far below 2^52.
pub fn compare(first: &[f64], second: &[f64]) -> Comparison {
    let moments = |series: &[f64]| {
        let n = series.len().max(2) as f64;
        let mean = series.iter().sum::<f64>() / n;
        let variance = series.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    };
    let ((a, a_error), (b, b_error)) = (moments(first), moments(second));
    let error = (a_error + b_error).sqrt();
    let t = if error > 0.0 { (a - b) / error } else { 0.0 };
    Comparison { n: first.len().min(second.len()), mean: b, shift: a - b, t }
}

/// Compares two series without the slowest `share` (0 to 1) of both together. Everything above one limit is removed,
/// and the limit is the same for both series.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // As above, and a share.
pub fn compare_without_slowest(first: &[f64], second: &[f64], share: f64) -> Comparison {
    let mut all: Vec<f64> = first.iter().chain(second).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let keep = (all.len() as f64 * (1.0 - share)).ceil() as usize;
    let bound = keep.checked_sub(1).and_then(|last| all.get(last)).copied().unwrap_or(f64::INFINITY);
    let within = |series: &[f64]| series.iter().copied().filter(|value| *value <= bound).collect::<Vec<_>>();
    compare(&within(first), &within(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_matches_the_textbook() {
        // Means 20.0 and 22.0, variances 2.5 and 10.0, n = 5: t = -2 / sqrt(0.5 + 2.0).
        let (a, b) = ([18.0, 19.0, 20.0, 21.0, 22.0], [18.0, 20.0, 22.0, 24.0, 26.0]);
        let comparison = compare(&a, &b);
        assert!((comparison.t + 2.0 / 2.5_f64.sqrt()).abs() < 1e-12, "{comparison:?}");
        assert!(
            (comparison.shift + 2.0).abs() < 1e-12 && (comparison.mean - 22.0).abs() < 1e-12,
            "{comparison:?}"
        );
        assert_eq!(comparison.n, 5);
    }

    #[test]
    fn a_series_does_not_differ_from_itself() {
        let series = [5.0, 5.0, 7.0];
        assert!(compare(&series, &series).t.abs() < 1e-12);
        assert!(compare(&[1.0, 1.0], &[1.0, 1.0]).t.abs() < 1e-12);
    }

    #[test]
    fn one_limit_removes_the_slowest_of_both() {
        let mut a = vec![10.0; 99];
        a.push(1_000_000.0);
        let b = vec![10.0; 100];
        assert!(compare(&a, &b).shift > 9000.0);
        let cropped = compare_without_slowest(&a, &b, 0.01);
        assert_eq!(cropped.n, 99);
        assert!(cropped.shift.abs() < 1e-12, "{cropped:?}");
    }
}
