//! The tenant's wall clock: the system's time plus an offset that a test may move, so that tokens expire when the story
//! says so and not when the machine is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// A handle on the tenant's clock; all clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    offset_millis: Arc<AtomicI64>,
    advanced_millis: Arc<AtomicU64>,
    began: Instant,
    moved: watch::Sender<()>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            offset_millis: Arc::default(),
            advanced_millis: Arc::default(),
            began: Instant::now(),
            moved: watch::Sender::new(()),
        }
    }
}

impl Clock {
    /// The time as the tenant sees it.
    pub fn now(&self) -> SystemTime {
        let offset = self.offset_millis.load(Ordering::SeqCst);
        let distance = Duration::from_millis(offset.unsigned_abs());
        let system = SystemTime::now();
        let moved = if offset < 0 { system.checked_sub(distance) } else { system.checked_add(distance) };
        moved.unwrap_or(system)
    }

    /// How much time has gone by since it was made, however often it was set back.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed() + Duration::from_millis(self.advanced_millis.load(Ordering::SeqCst))
    }

    /// The time in whole seconds since 1970, as tokens carry it.
    pub fn unix(&self) -> u64 {
        unix(self.now())
    }

    /// Moves the clock forward; running IMAP sessions notice immediately.
    pub fn advance(&self, by: Duration) {
        self.advanced_millis.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.shift(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Moves the clock back, as a corrected system clock does.
    pub fn set_back(&self, by: Duration) {
        self.shift(i64::try_from(by.as_millis()).map_or(i64::MIN, |millis| -millis));
    }

    fn shift(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::SeqCst);
        self.moved.send_replace(());
    }

    /// Tells a waiting session whenever the clock was moved by hand.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }
}

pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A point in time taken apart (UTC, proleptic Gregorian), for the four ways Microsoft prints one.
pub(super) struct Civil {
    pub(super) year: u64,
    pub(super) month: u64,
    pub(super) day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millis: u32,
    weekday: u64,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl Civil {
    pub(super) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Days counted from 1 March of year 0, in eras of 400 years: a leap day is then always the last of its year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            millis: since.subsec_millis(),
            weekday: days % 7,
        }
    }

    fn month_name(&self) -> &'static str {
        usize::try_from(self.month).ok().and_then(|month| MONTHS.get(month.wrapping_sub(1))).copied().unwrap_or("Jan")
    }

    fn clock_time(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// `Thu, 11 Jul 2024 11:46:42 +0000`, in the SMTP greeting.
    pub(super) fn mail(&self) -> String {
        let day_name = usize::try_from(self.weekday).ok().and_then(|day| DAYS.get(day)).copied().unwrap_or("Thu");
        format!("{day_name}, {} {} {} {} +0000", self.day, self.month_name(), self.year, self.clock_time())
    }

    /// `Thu, 11 Jul 2024 11:46:42 GMT`, in the header of an HTTP answer.
    pub(super) fn http(&self) -> String {
        let mail = self.mail();
        let day_name = mail.split(',').next().unwrap_or_default();
        format!("{day_name}, {:02} {} {} {} GMT", self.day, self.month_name(), self.year, self.clock_time())
    }

    /// `2024-07-11T11:46:49.042Z`, in the trailer of SMTP replies.
    pub(super) fn iso(&self) -> String {
        format!("{}-{:02}-{:02}T{}.{:03}Z", self.year, self.month, self.day, self.clock_time(), self.millis)
    }

    /// `2024-07-11 11:46:49Z`, in Entra's errors.
    pub(super) fn entra(&self) -> String {
        format!("{}-{:02}-{:02} {}Z", self.year, self.month, self.day, self.clock_time())
    }

    /// `"11-Jul-2024 11:46:49 +0000"` without its quotes, IMAP's INTERNALDATE.
    pub(super) fn imap(&self) -> String {
        format!("{:>2}-{}-{} {} +0000", self.day, self.month_name(), self.year, self.clock_time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_is_printed_as_each_service_prints_it() {
        let civil = Civil::of(UNIX_EPOCH + Duration::from_millis(1_720_698_402_042));
        assert_eq!(civil.mail(), "Thu, 11 Jul 2024 11:46:42 +0000");
        assert_eq!(civil.iso(), "2024-07-11T11:46:42.042Z");
        assert_eq!(civil.entra(), "2024-07-11 11:46:42Z");
        assert_eq!(civil.imap(), "11-Jul-2024 11:46:42 +0000");
        let leap = Civil::of(UNIX_EPOCH + Duration::from_secs(1_709_164_800));
        assert_eq!(leap.imap(), "29-Feb-2024 00:00:00 +0000");
        let first = Civil::of(UNIX_EPOCH + Duration::from_secs(1_735_689_600));
        assert_eq!(first.imap(), " 1-Jan-2025 00:00:00 +0000");
    }

    #[test]
    fn a_moved_clock_is_moved_for_all_its_clones() {
        let clock = Clock::default();
        let other = clock.clone();
        let before = clock.unix();
        clock.advance(Duration::from_secs(5_000));
        assert!(other.unix() >= before + 5_000);
        clock.set_back(Duration::from_secs(10_000));
        assert!(other.unix() < before);
    }
}
