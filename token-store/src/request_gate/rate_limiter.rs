//! How fast an authority is asked: pure, from a monotonic clock.
//!
//! Normally a fixed number of requests a second, with a burst of one second's worth. After an outage it starts with one a second
//! and grows: the accounts that are due by then must not cause the next outage.

use std::time::Duration;

use tokio::time::Instant;

/// How long after an outage the full rate is reached.
pub(super) const RECOVERY: Duration = Duration::from_secs(60);

/// The rate it begins with then, a second.
const FIRST_RATE: f64 = 1.0;

/// The beginnings of requests to one authority.
#[derive(Debug, Default)]
pub(super) struct RateLimiter {
    /// When the next may begin, if all before it kept their distance.
    next: Option<Instant>,
    /// When the last outage was over.
    recovered: Option<Instant>,
}

impl RateLimiter {
    /// An outage is over now.
    pub(super) fn recover(&mut self, now: Instant) {
        self.recovered = Some(now);
        self.next = None;
    }

    /// Reserves the start of a request and returns how long to wait for it. If that is longer than `patience`, nothing is
    /// reserved, and the error is how long it would be. `rate` is the full one, a second; `jitter` is between 0 and 1.
    pub(super) fn take(
        &mut self,
        now: Instant,
        rate: u32,
        patience: Duration,
        jitter: f64,
    ) -> Result<Duration, Duration> {
        let full = f64::from(rate.max(1));
        let since = self.recovered.map(|recovered| now.saturating_duration_since(recovered));
        let (rate, at_once) = match since.filter(|since| *since < RECOVERY) {
            Some(since) => {
                let part = since.as_secs_f64() / RECOVERY.as_secs_f64();
                (FIRST_RATE.min(full) + (full - FIRST_RATE.min(full)) * part, Duration::ZERO)
            }
            None => (full, Duration::from_secs(1)),
        };
        let next = self.next.unwrap_or(now).max(now.checked_sub(at_once).unwrap_or(now));
        let wait = next.saturating_duration_since(now);
        if wait > patience {
            return Err(wait);
        }
        // Between half and one and a half of the distance, so that nodes do not march in step.
        self.next = Some(next + Duration::from_secs_f64((0.5 + jitter.clamp(0.0, 1.0)) / rate));
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many of those that all come together begin in each of the first seconds.
    fn begun(pace: &mut RateLimiter, now: Instant, count: u32) -> Vec<usize> {
        let mut seconds = Vec::new();
        let (mut time, mut begun) = (now, 0);
        // Eight wait at a time, as the share of an authority has it.
        while begun < count {
            for _ in 0..8.min(count - begun) {
                let wait = pace.take(time, 20, 60 * SECOND, 0.5).unwrap();
                let second = usize::try_from((time + wait - now).as_secs()).unwrap();
                seconds.resize(seconds.len().max(second + 1), 0);
                seconds[second] += 1;
                begun += 1;
            }
            time = time.max(pace.next.unwrap().checked_sub(SECOND).unwrap());
        }
        seconds
    }

    #[tokio::test]
    async fn a_crowd_is_spread_over_seconds() {
        let now = Instant::now() + 1000 * SECOND;
        let seconds = begun(&mut RateLimiter::default(), now, 200);
        assert!(seconds[0] <= 41 && seconds[1..9].iter().all(|count| *count <= 21), "{seconds:?}");
    }

    #[tokio::test]
    async fn the_wave_after_an_outage_begins_with_a_few() {
        let now = Instant::now() + 1000 * SECOND;
        let mut pace = RateLimiter::default();
        pace.recover(now);
        let (mut begun, mut time) = (Vec::new(), now);
        while time < now + 70 * SECOND {
            if let Ok(wait) = pace.take(time, 20, Duration::ZERO, 0.5) {
                begun.push(time + wait);
            }
            time += Duration::from_millis(10);
        }
        let within =
            |from, to| begun.iter().filter(|at| **at >= now + from * SECOND && **at < now + to * SECOND).count();
        assert!((1..=3).contains(&within(0, 2)), "{}", within(0, 2));
        assert!((12..=40).contains(&within(0, 10)), "{}", within(0, 10));
        assert!((17..=21).contains(&within(58, 59)), "{}", within(58, 59));
        assert!(within(0, 60) < 640, "{}", within(0, 60));
    }

    #[tokio::test]
    async fn request_without_patience_takes_no_slot() {
        let now = Instant::now() + 1000 * SECOND;
        let mut pace = RateLimiter::default();
        pace.recover(now);
        assert_eq!(pace.take(now, 20, SECOND, 0.5), Ok(Duration::ZERO));
        assert_eq!(pace.take(now, 20, SECOND, 0.5), Ok(SECOND));
        for _ in 0..100 {
            assert_eq!(pace.take(now, 20, SECOND, 0.5), Err(2 * SECOND));
        }
        assert!(pace.take(now + 2 * SECOND, 20, SECOND, 0.5).is_ok());
    }
}
