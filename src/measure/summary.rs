//! A summary of many durations.

use std::time::Duration;

/// Statistics of measured times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The shortest.
    pub min: Duration,
    /// The median.
    pub median: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Summary {
    /// Summarizes `times` in any order; `None` if there are none.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let (&min, &max) = (times.first()?, times.last()?);
        // The nearest-rank method yields a measured time.
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { min, median: rank(50), p99: rank(99), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_are_measured_times() {
        let of = |millis: Vec<u64>| {
            let summary = Summary::of(millis.into_iter().map(Duration::from_millis).collect())?;
            let Summary { min, median, p99, max } = summary;
            Some([min, median, p99, max].map(|time| time.as_millis()))
        };
        assert_eq!(of(vec![]), None);
        assert_eq!(of(vec![7]), Some([7, 7, 7, 7]));
        assert_eq!(of(vec![2, 1]), Some([1, 1, 2, 2]));
        assert_eq!(of((1..=100).rev().collect()), Some([1, 50, 99, 100]));
        assert_eq!(of((1..=1000).collect()), Some([1, 500, 990, 1000]));
    }

    proptest! {
        #[test]
        fn statistics_are_ordered(millis in proptest::collection::vec(any::<u32>(), 1..300)) {
            let times = millis.iter().map(|millis| Duration::from_millis((*millis).into())).collect();
            let Summary { min, median, p99, max } = Summary::of(times).unwrap();
            prop_assert!(min <= median && median <= p99 && p99 <= max);
        }
    }
}
