//! Simulated weeks of a journal: how much it keeps, and what a clock that is wrong costs.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::cleaning::{CLEAN_EVERY, ClockGuard};
use super::super::database::{JournalDatabase, Measure};
use super::super::writer::clean_once;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A journal, and a clock that can be set.
struct World {
    database: JournalDatabase,
    settings: JournalSettings,
    guard: ClockGuard,
    wall: SystemTime,
    since: Duration,
    begun: Instant,
    written: u64,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(settings: JournalSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = JournalDatabase::open(&place(folder.path())).await.unwrap();
        let begun = Instant::now();
        let guard = ClockGuard::new(start(), begun);
        let (wall, since) = (start(), Duration::ZERO);
        Self { database, settings, guard, wall, since, begun, written: 0, _folder: folder }
    }

    /// Time goes by, in the steps of the cleaning, with so many messages in each.
    async fn pass(&mut self, time: Duration, messages: u64) {
        for _ in 0..time.as_secs() / CLEAN_EVERY.as_secs() {
            self.wall += CLEAN_EVERY;
            self.since += CLEAN_EVERY;
            let events: Vec<_> = (0..messages)
                .map(|number| event(&format!("{:08}", self.written + number), self.wall, "erp@contoso.com"))
                .collect();
            self.written += messages;
            if !events.is_empty() {
                self.database.add(&events).await.unwrap();
            }
            let is_settled = self.guard.is_settled(self.wall, self.begun + self.since);
            while clean_once(&self.database, &self.settings, is_settled.then_some(self.wall)).await.unwrap() {}
        }
    }

    async fn measure(&self) -> Measure {
        self.database.measure().await.unwrap()
    }
}

#[tokio::test]
async fn events_are_kept_for_their_time_and_no_longer() {
    let settings = JournalSettings { keep: 7 * DAY, ..JournalSettings::default() };
    let mut world = World::new(settings).await;
    world.pass(3 * DAY, 2).await;
    assert_eq!(world.measure().await.events, 3 * 144 * 2, "nothing is too old");
    world.pass(11 * DAY, 2).await;
    let kept = world.measure().await.events;
    assert!((7 * 144 * 2..=7 * 144 * 2 + 4).contains(&kept), "{kept}");
    // A week without mail.
    world.pass(8 * DAY, 0).await;
    assert_eq!(world.measure().await, Measure { events: 0, bytes: 0 });
}

#[tokio::test]
async fn burst_stays_within_the_bounds() {
    let settings = JournalSettings { max_events: 2_000, ..JournalSettings::default() };
    let mut world = World::new(settings).await;
    world.pass(2 * HOUR, 1_000).await;
    assert_eq!(world.measure().await.events, 2_000, "the newest");
    let bytes = world.measure().await.bytes;
    world.settings.max_bytes = bytes / 2;
    world.pass(HOUR, 0).await;
    let left = world.measure().await;
    assert!(left.bytes <= bytes / 2 && left.events >= 700, "{left:?}");
}

/// The battery of a machine is empty, or NTP sends nonsense: the journal of a month must not go because of it.
#[tokio::test]
async fn clock_that_jumps_and_returns_costs_nothing() {
    let settings = JournalSettings { keep: 30 * DAY, ..JournalSettings::default() };
    let mut world = World::new(settings).await;
    world.pass(DAY, 1).await;
    let before = world.measure().await.events;
    let years = 4000 * DAY;
    world.wall += years;
    world.pass(CLEAN_EVERY, 1).await;
    world.wall -= years;
    world.pass(HOUR, 1).await;
    assert_eq!(world.measure().await.events, before + 7);
    // Set back by a day: the events of that day are recorded again after those of the day before.
    world.wall -= DAY;
    world.pass(DAY, 1).await;
    assert_eq!(world.measure().await.events, before + 7 + 144);
}
