//! Which address to try when: Happy Eyeballs (RFC 8305), without a socket or a clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The next address is tried when the one before has not answered for so long (RFC 8305, 5 and 8).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried. Exchange's names have up to sixteen.
pub(crate) const MAX_ADDRESSES: usize = 32;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try this address.
    Start(SocketAddr),
    /// Wait for those that were tried, but not longer than this.
    WaitUntil(Instant),
    /// All were tried: wait for those that have not answered yet.
    Wait,
    /// All were tried, and none is left.
    Failed,
}

/// The addresses of a name, and how far we are.
#[derive(Debug)]
pub(crate) struct Race {
    waiting: VecDeque<SocketAddr>,
    running: usize,
    /// When the next one may be tried while others run.
    next: Option<Instant>,
}

impl Race {
    /// In the order of the system's resolver, which is that of RFC 6724, but with alternating families, so that a
    /// family that leads nowhere costs one delay (RFC 8305, 4).
    pub(crate) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { waiting: interleaved(addresses), running: 0, next: None }
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        let may_start = self.running == 0 || self.next.is_none_or(|next| next <= now);
        match (self.waiting.front().copied(), self.next) {
            (Some(address), _) if may_start => {
                self.waiting.pop_front();
                self.running += 1;
                self.next = Some(now + ATTEMPT_DELAY);
                Next::Start(address)
            }
            (Some(_), Some(next)) => Next::WaitUntil(next),
            (_, _) if self.running > 0 => Next::Wait,
            (_, _) => Next::Failed,
        }
    }

    /// One of those that were tried has failed. The next one need not wait for its turn then.
    pub(crate) fn failed(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.next = None;
    }
}

fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut of_each: [VecDeque<SocketAddr>; 2] = Default::default();
    let mut first_is_v6 = None;
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let first_is_v6 = *first_is_v6.get_or_insert(address.is_ipv6());
        let [preferred, other] = &mut of_each;
        let family = if address.is_ipv6() == first_is_v6 { preferred } else { other };
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    let [mut preferred, mut other] = of_each;
    let mut turns = VecDeque::new();
    while !preferred.is_empty() || !other.is_empty() {
        turns.extend(preferred.pop_front());
        turns.extend(other.pop_front());
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_in_the_order_of_the_resolver() {
        let listed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        assert_eq!(interleaved(listed), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        let listed = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
        assert_eq!(interleaved(listed), addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        assert_eq!(interleaved((1..=200).map(|port| SocketAddr::from(([1, 1, 1, 1], port)))).len(), MAX_ADDRESSES);
    }

    #[test]
    fn next_address_starts_after_its_delay_or_a_failure() {
        let [one, two, three] =
            <[SocketAddr; 3]>::try_from(addresses(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"])).unwrap();
        let (mut race, begin) = (Race::new([one, two, three]), Instant::now());
        assert_eq!(race.next(begin), Next::Start(one));
        assert_eq!(race.next(begin), Next::WaitUntil(begin + ATTEMPT_DELAY));
        assert_eq!(race.next(begin + ATTEMPT_DELAY), Next::Start(two));
        race.failed();
        assert_eq!(race.next(begin + ATTEMPT_DELAY), Next::Start(three));
        assert_eq!(race.next(begin + ATTEMPT_DELAY), Next::Wait);
        race.failed();
        assert_eq!(race.next(begin + ATTEMPT_DELAY), Next::Wait);
        race.failed();
        assert_eq!(race.next(begin + ATTEMPT_DELAY), Next::Failed);
        assert_eq!(Race::new([]).next(begin), Next::Failed);
    }
}
