//! Wrong passwords, counted: what is slowed, what is banned, and until when. Pure; the clock is the caller's.
//!
//! Everything counted is forgiven with time, one guess after the other. From the fourth on the next guesses wait, each twice
//! as long; so many from one address ban it. A login name is only ever slowed: a ban would let anybody lock its owner out.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::source::{Counted, Source};

/// Guesses from one address that cost no time: people mistype.
const FREE_FROM: u32 = 3;

/// Guesses for one login name that cost no time, from wherever they come.
const FREE_FOR: u32 = 10;

/// How long the first guess waits that is not free. Each after it waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest that a guess waits for its own sake.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The longest that it waits for those before it as well; whoever would wait longer is sent away for now. Mail programs
/// wait for an answer for a minute.
pub(super) const QUEUE: Duration = Duration::from_secs(30);

/// Addresses and names that are counted at once: some 10 MiB.
const TALLIES: usize = 65_536;

/// The bounds an administrator may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuessLimits {
    /// Wrong passwords from one address that ban it. 0: none do.
    pub ban_after: u32,
    /// Wrong passwords from one /64 network of IPv6 that ban it. 0: none do.
    pub ban_network_after: u32,
    /// How long a ban lasts.
    pub ban_for: Duration,
    /// How long it takes until a wrong password is forgiven.
    pub forgive: Duration,
}

/// What becomes of the next guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It may be checked.
    Now,
    /// It may be checked after this time.
    After(Duration),
    /// So many wait already that it would take too long; it is better to come back after this time.
    TooMany(Duration),
    /// Nothing from there is checked until then.
    Banned(Source, Instant),
}

#[derive(Debug)]
struct Tally {
    guesses: u32,
    /// When the oldest of them began to be forgiven.
    since: Instant,
    /// When the next guess may be checked.
    slot: Instant,
    banned_until: Option<Instant>,
}

/// The tallies.
#[derive(Debug)]
pub(super) struct Guesses {
    limits: GuessLimits,
    tallies: HashMap<Counted, Tally>,
}

impl Guesses {
    /// None yet.
    pub(super) fn new(limits: GuessLimits) -> Self {
        Self { limits, tallies: HashMap::new() }
    }

    /// How long a ban lasts.
    pub(super) fn ban_for(&self) -> Duration {
        self.limits.ban_for
    }

    /// The ban on any of these sources, if there is one.
    pub(super) fn ban_of(&self, sources: &[Source], now: Instant) -> Option<(Source, Instant)> {
        sources.iter().find_map(|&source| {
            let until = self.tallies.get(&Counted::From(source))?.banned_until?;
            (until > now).then_some((source, until))
        })
    }

    /// Gives the next guess of somebody at these sources for this name its turn.
    pub(super) fn next(&mut self, sources: &[Source], name: u64, now: Instant) -> Next {
        if let Some((source, until)) = self.ban_of(sources, now) {
            return Next::Banned(source, until);
        }
        let forgive = self.limits.forgive;
        let concerned = || sources.iter().map(|&source| Counted::From(source)).chain([Counted::For(name)]);
        let mut wait = Duration::ZERO;
        for counted in concerned() {
            let Some(tally) = self.tallies.get_mut(&counted) else { continue };
            tally.forgive(now, forgive);
            wait = wait.max(tally.wait(counted, now));
        }
        if wait > QUEUE {
            return Next::TooMany(wait.saturating_sub(QUEUE));
        }
        for counted in concerned() {
            if let Some(tally) = self.tallies.get_mut(&counted)
                && !interval(counted, tally.guesses).is_zero()
            {
                tally.slot = now + wait;
            }
        }
        if wait.is_zero() { Next::Now } else { Next::After(wait) }
    }

    /// Counts a guess that was wrong. Gives the bans that it has brought about.
    pub(super) fn wrong(&mut self, sources: &[Source], name: u64, now: Instant) -> Vec<Source> {
        let limits = self.limits.clone();
        let mut banned = Vec::new();
        for counted in sources.iter().map(|&source| Counted::From(source)).chain([Counted::For(name)]) {
            self.make_room(counted, now);
            let tally =
                self.tallies.entry(counted).or_insert(Tally { guesses: 0, since: now, slot: now, banned_until: None });
            tally.forgive(now, limits.forgive);
            tally.guesses = tally.guesses.saturating_add(1);
            let Counted::From(source) = counted else { continue };
            let bound = if matches!(source, Source::Network(_)) { limits.ban_network_after } else { limits.ban_after };
            if bound > 0 && tally.guesses >= bound && tally.banned_until.is_none_or(|until| until <= now) {
                tally.banned_until = Some(now + limits.ban_for);
                // Whoever goes on after the ban is banned again sooner.
                tally.guesses = bound / 2;
                banned.push(source);
            }
        }
        banned
    }

    /// Lifts the ban of a source, and forgives it everything.
    pub(super) fn lift(&mut self, source: Source) {
        self.tallies.remove(&Counted::From(source));
    }

    /// Whoever has many addresses must not make this table grow, nor have a ban forgotten by filling it.
    fn make_room(&mut self, counted: Counted, now: Instant) {
        if self.tallies.len() < TALLIES || self.tallies.contains_key(&counted) {
            return;
        }
        let forgive = self.limits.forgive;
        self.tallies.retain(|_, tally| {
            tally.forgive(now, forgive);
            tally.guesses > 0 || tally.is_banned(now)
        });
        let mut guesses = 1;
        while self.tallies.len() >= TALLIES && guesses < u32::MAX {
            self.tallies.retain(|_, tally| tally.guesses > guesses || tally.is_banned(now));
            guesses = guesses.saturating_mul(2);
        }
        if self.tallies.len() >= TALLIES {
            self.tallies.clear();
        }
    }
}

impl Tally {
    fn forgive(&mut self, now: Instant, every: Duration) {
        let passed = now.saturating_duration_since(self.since);
        let forgiven = passed.as_nanos().checked_div(every.as_nanos()).unwrap_or(u128::MAX);
        match u32::try_from(forgiven) {
            Ok(0) if self.guesses > 0 => {}
            Ok(forgiven) if forgiven < self.guesses => {
                self.guesses -= forgiven;
                self.since += every * forgiven;
            }
            _ => {
                self.guesses = 0;
                self.since = now;
            }
        }
    }

    /// How long the next guess waits: for those that have their turn before it, and for its own sake.
    fn wait(&self, counted: Counted, now: Instant) -> Duration {
        let own = interval(counted, self.guesses);
        if own.is_zero() { own } else { self.slot.saturating_duration_since(now) + own }
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| until > now)
    }
}

fn interval(counted: Counted, guesses: u32) -> Duration {
    let free = if matches!(counted, Counted::For(_)) { FREE_FOR } else { FREE_FROM };
    match guesses.checked_sub(free) {
        None => Duration::ZERO,
        Some(more) => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(more)).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u64 = 1;

    fn limits() -> GuessLimits {
        GuessLimits {
            ban_after: 10,
            ban_network_after: 40,
            ban_for: Duration::from_secs(900),
            forgive: Duration::from_secs(300),
        }
    }

    fn from(address: &str) -> Vec<Source> {
        super::super::source::counted(address.parse().unwrap(), &[]).collect()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_wait_longer_and_longer_and_then_ban_their_address() {
        let (mut guesses, mut now, there) = (Guesses::new(limits()), Instant::now(), from("192.0.2.7"));
        let mut waits = Vec::new();
        let mut banned = Vec::new();
        for name in 0..10 {
            match guesses.next(&there, name, now) {
                Next::Now => waits.push(0),
                Next::After(wait) => {
                    waits.push(wait.as_millis());
                    now += wait;
                }
                other => panic!("{other:?}"),
            }
            banned = guesses.wrong(&there, name, now);
        }
        assert_eq!(waits, [0, 0, 0, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(banned, there);
        assert_eq!(guesses.next(&there, 99, now), Next::Banned(there[0], now + seconds(900)));
        assert_eq!(guesses.next(&from("192.0.2.8"), 99, now), Next::Now, "its neighbour is not concerned");
        now += seconds(901);
        // Forgiven three in the meantime, and half of the rest at the ban.
        assert_eq!(guesses.next(&there, 99, now), Next::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_from_many_addresses_of_a_network_ban_the_network() {
        let (mut guesses, now) = (Guesses::new(limits()), Instant::now());
        let mut banned = Vec::new();
        for number in 0..40 {
            banned = guesses.wrong(&from(&format!("2001:db8::{number:x}")), number, now);
        }
        assert_eq!(banned, [Source::of("2001:db8::1".parse().unwrap())]);
        let elsewhere_in_it = from("2001:db8::ffff");
        assert!(matches!(guesses.next(&elsewhere_in_it, 99, now), Next::Banned(Source::Network(_), _)));
        assert_eq!(guesses.next(&from("2001:db8:0:1::1"), 99, now), Next::Now);
    }

    /// On this machine, and from everywhere at once, only the name is slowed; nobody can lock it out for good.
    #[tokio::test(start_paused = true)]
    async fn a_name_is_slowed_whoever_guesses_and_never_banned() {
        let (mut guesses, mut now, local) = (Guesses::new(limits()), Instant::now(), from("127.0.0.1"));
        for _ in 0..1000 {
            assert!(guesses.wrong(&local, ALICE, now).is_empty());
        }
        assert_eq!(guesses.next(&local, ALICE, now), Next::After(LONGEST_WAIT));
        assert_eq!(guesses.next(&from("192.0.2.7"), ALICE, now), Next::After(LONGEST_WAIT * 2), "they stand in a line");
        assert_eq!(guesses.next(&local, ALICE, now), Next::After(LONGEST_WAIT * 3));
        assert_eq!(guesses.next(&local, ALICE, now), Next::TooMany(seconds(2)), "which is not endless");
        assert_eq!(guesses.next(&local, 2, now), Next::Now, "other names are not concerned");
        now += seconds(300) * 991;
        assert_eq!(guesses.next(&local, ALICE, now), Next::Now, "all is forgiven in time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_slowly_is_forgiven() {
        let (mut guesses, mut now, there) = (Guesses::new(limits()), Instant::now(), from("192.0.2.7"));
        for _ in 0..100 {
            assert!(guesses.wrong(&there, ALICE, now).is_empty());
            now += seconds(301);
        }
        assert_eq!(guesses.next(&there, ALICE, now), Next::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_banned_where_the_bound_is_zero() {
        let mut guesses = Guesses::new(GuessLimits { ban_after: 0, ban_network_after: 0, ..limits() });
        let now = Instant::now();
        for _ in 0..1000 {
            assert!(guesses.wrong(&from("2001:db8::1"), ALICE, now).is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_is_lifted_as_if_nothing_had_been() {
        let (mut guesses, now, there) = (Guesses::new(limits()), Instant::now(), from("192.0.2.7"));
        while guesses.wrong(&there, ALICE, now).is_empty() {}
        guesses.lift(there[0]);
        assert_eq!(guesses.next(&there, 99, now), Next::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_addresses_neither_fills_the_memory_nor_frees_the_banned() {
        let (mut guesses, now, there) = (Guesses::new(limits()), Instant::now(), from("192.0.2.7"));
        while guesses.wrong(&there, ALICE, now).is_empty() {}
        for number in 0..TALLIES as u64 * 2 {
            guesses.wrong(&from("127.0.0.1"), number + 10, now);
        }
        assert!(guesses.tallies.len() <= TALLIES, "{}", guesses.tallies.len());
        assert!(matches!(guesses.next(&there, 99, now), Next::Banned(..)));
    }
}
