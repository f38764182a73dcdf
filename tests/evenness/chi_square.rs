//! Pearson's chi-square test: are these counts what equal chances give?

use dht_tests::random::Random;

/// The 0.99 quantile of the standard normal distribution.
const NORMAL_QUANTILE_0_99: f64 = 2.326_347_874_040_841;

/// Σ (count − expected)² / expected, all expected equal.
pub(crate) fn statistic(counts: &[u32]) -> f64 {
    let expected = counts.iter().map(|&count| f64::from(count)).sum::<f64>() / counts.len() as f64;
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}

/// What the statistic exceeds once in a hundred times, by the approximation of Wilson and Hilferty (*The
/// distribution of chi-square*, 1931): the cube root of χ²/k is nearly normal.
pub(crate) fn critical_at_0_01(degrees_of_freedom: u32) -> f64 {
    let freedom = f64::from(degrees_of_freedom);
    let variance = 2.0 / (9.0 * freedom);
    freedom * (1.0 - variance + NORMAL_QUANTILE_0_99 * variance.sqrt()).powi(3)
}

/// NIST/SEMATECH *e-Handbook of Statistical Methods*, 1.3.6.7.4, upper critical values at 0.01.
pub(crate) fn agrees_with_published_values() {
    for (freedom, published) in [(10, 23.209), (30, 50.892), (50, 76.154), (100, 135.807)] {
        let approximate = critical_at_0_01(freedom);
        assert!((approximate / published - 1.0).abs() < 0.002, "{freedom}: {approximate} for {published}");
    }
    let error = |freedom, published: f64| (critical_at_0_01(freedom) - published).abs();
    assert!(error(100, 135.807) < 0.03, "the approximation gets better with the degrees of freedom");
}

/// A test that cannot fail says nothing.
pub(crate) fn tells_even_from_uneven() {
    let mut random = Random::new(4_096);
    let mut counts = vec![0u32; 4_096];
    (0..1_000_000).for_each(|_| counts[random.below(4_096) as usize] += 1);
    let critical = critical_at_0_01(4_095);
    assert!(statistic(&counts) < critical);
    // One partition in a hundred gets a third too much.
    counts.iter_mut().step_by(100).for_each(|count| *count += *count / 3);
    assert!(statistic(&counts) > critical);
}
