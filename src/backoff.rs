//! How long to wait before the next try.

use std::time::Duration;

/// Doubling waits, each drawn anew from its upper half: a fleet that lost its hub at once must not come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);

    /// Waits of up to `longest`.
    pub fn new(longest: Duration) -> Self {
        Self { next: Self::FIRST, longest }
    }

    /// The wait before the next try. `chance` is evenly spread over all values.
    pub fn wait(&mut self, chance: u32) -> Duration {
        let wait = self.next / 2 + (self.next / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX));
        self.next = (self.next * 2).min(self.longest);
        wait
    }

    /// After a success the next failure is a first one.
    pub fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

/// A number by chance, evenly spread.
pub fn chance() -> u32 {
    // Without the system's randomness there is no TLS either.
    getrandom::u32().expect("the system has randomness")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let longest: Vec<_> = (0..9).map(|_| backoff.wait(u32::MAX).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.wait(0).as_secs(), 30);
        backoff.reset();
        assert_eq!(backoff.wait(0).as_millis(), 250);
    }
}
