use super::super::conditions::Topic;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The service that decides, the store that remembers, and the time, as one thing to play with.
struct Play {
    notices: Vec<Alert>,
    now: SystemTime,
    ids: u32,
    /// Whether deliveries succeed.
    arrives: bool,
}

impl Play {
    fn new() -> Self {
        Self {
            notices: Vec::new(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            ids: 0,
            arrives: true,
        }
    }

    /// One pass with these findings: what is delivered.
    fn look(&mut self, findings: &[Finding]) -> Vec<(Kind, String, String)> {
        self.look_of(Some(DAY), findings)
    }

    /// The same by a node with this reminder interval.
    fn look_of(&mut self, reminder: Option<Duration>, findings: &[Finding]) -> Vec<(Kind, String, String)> {
        let mut said = Vec::new();
        let ids = &mut self.ids;
        let steps = decide(findings, &self.notices, self.now, reminder, || {
            *ids += 1;
            ids.to_string()
        });
        for Step { old, mut new, tell } in steps {
            self.notices.retain(|notice| Some(notice) != old.as_ref());
            said.extend(tell.map(|kind| (kind, new.id.clone(), format!("{} {}", new.event, new.cause))));
            if let (Some(kind), true) = (tell, self.arrives) {
                if kind == Kind::Resolved {
                    continue;
                }
                new = delivered(&new, self.now, reminder);
            }
            self.notices.push(new);
        }
        said
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }
}

fn condition(event: Event, cause: &str) -> Finding {
    Finding::Condition(Condition {
        subject: "alice@contoso.com".into(),
        topic: Topic::Tokens,
        event,
        cause: cause.into(),
        what: "What.".into(),
        remedy: "Remedy.".into(),
        since: SystemTime::UNIX_EPOCH,
    })
}

fn revoked() -> [Finding; 1] {
    [condition(Event::SignInNeeded, "AADSTS50173")]
}

fn told_as(kind: Kind, id: &str, words: &str) -> Vec<(Kind, String, String)> {
    vec![(kind, id.to_owned(), words.to_owned())]
}

#[test]
fn alert_is_raised_once_then_reminded_of_and_resolved() {
    let mut play = Play::new();
    assert_eq!(play.look(&revoked()), told_as(Kind::Raised, "1", "sign-in-needed AADSTS50173"));
    for _ in 0..23 {
        play.wait(HOUR);
        assert_eq!(play.look(&revoked()), []);
    }
    play.wait(HOUR);
    assert_eq!(play.look(&revoked()), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
    play.wait(HOUR);
    assert_eq!(play.look(&[]), told_as(Kind::Resolved, "1", "sign-in-needed AADSTS50173"));
    assert_eq!(play.look(&[]), []);
    play.wait(HOUR);
    assert_eq!(play.look(&revoked()), told_as(Kind::Raised, "2", "sign-in-needed AADSTS50173"), "it broke again");
}

#[test]
fn another_cause_is_delivered_immediately_with_the_same_id() {
    let mut play = Play::new();
    play.look(&revoked());
    play.wait(HOUR);
    let blocked = [condition(Event::SignInNeeded, "AADSTS53003")];
    assert_eq!(play.look(&blocked), told_as(Kind::Raised, "1", "sign-in-needed AADSTS53003"));
    assert_eq!(play.look(&blocked), []);
}

/// Refused now, unreachable then, refused again: the person is still the one who must act.
#[test]
fn a_refresh_that_fails_otherwise_meanwhile_is_no_news() {
    let mut play = Play::new();
    play.look(&revoked());
    for finding in [
        Finding::Unsure("alice@contoso.com".into(), Topic::Tokens),
        condition(Event::RefreshFailing, ""),
        condition(Event::SignInNeeded, "AADSTS50173"),
    ] {
        play.wait(HOUR);
        assert_eq!(play.look(&[finding]), []);
    }
    play.wait(DAY);
    let failing = [condition(Event::RefreshFailing, "")];
    assert_eq!(play.look(&failing), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
    // The other way round it is news.
    let mut play = Play::new();
    assert_eq!(play.look(&failing), told_as(Kind::Raised, "1", "refresh-failing "));
    assert_eq!(play.look(&revoked()), told_as(Kind::Raised, "1", "sign-in-needed AADSTS50173"));
}

#[test]
fn failed_delivery_is_repeated_within_the_hour() {
    let mut play = Play::new();
    play.arrives = false;
    play.look(&revoked());
    play.wait(HOUR - Duration::from_secs(1));
    assert_eq!(play.look(&revoked()), []);
    play.wait(Duration::from_secs(1));
    assert_eq!(play.look(&revoked()), told_as(Kind::Raised, "1", "sign-in-needed AADSTS50173"));
    assert_eq!(play.look(&[]), told_as(Kind::Resolved, "1", "sign-in-needed AADSTS50173"));
    assert_eq!(play.look(&[]), []);
    play.wait(HOUR);
    play.arrives = true;
    assert_eq!(play.look(&[]), told_as(Kind::Resolved, "1", "sign-in-needed AADSTS50173"));
    play.wait(HOUR);
    assert_eq!(play.look(&[]), []);
    assert_eq!(play.notices, []);
}

#[test]
fn alert_that_returns_before_its_end_was_delivered_is_one() {
    let mut play = Play::new();
    play.look(&revoked());
    play.arrives = false;
    play.look(&[]);
    assert_eq!(play.look(&revoked()), []);
    play.wait(DAY);
    assert_eq!(play.look(&revoked()), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
}

#[test]
fn a_clock_that_was_set_back_tells_nothing_twice() {
    let mut play = Play::new();
    play.look(&revoked());
    play.now -= 10 * DAY;
    assert_eq!(play.look(&revoked()), []);
}

/// A service that was started in 2030 has delivered one alert and was ended before it delivered another; then its clock was set right.
#[test]
fn alert_delayed_by_a_clock_ahead_is_delivered_within_the_hour() {
    for over in [false, true] {
        let mut play = Play::new();
        play.arrives = false;
        play.look(&revoked());
        if over {
            play.look(&[]);
        }
        play.now -= 4 * 365 * DAY;
        play.arrives = true;
        let findings = revoked();
        let findings = if over { &[][..] } else { &findings[..] };
        let delivered = told_as(if over { Kind::Resolved } else { Kind::Raised }, "1", "sign-in-needed AADSTS50173");
        assert_eq!(play.look(findings), []);
        play.wait(HOUR);
        assert_eq!(play.look(findings), delivered);
    }
    // The reminder follows a day later, and not four years.
    let mut play = Play::new();
    play.look(&revoked());
    play.now -= 4 * 365 * DAY;
    assert_eq!(play.look(&revoked()), []);
    play.wait(DAY);
    assert_eq!(play.look(&revoked()), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
}

/// Two nodes look every five minutes, in turn; one reminds each day, the other every six hours.
#[test]
fn nodes_remind_at_the_interval_of_the_one_that_delivers() {
    for order in [[24_u32, 6], [6, 24]] {
        let mut play = Play::new();
        let mut delivered = Vec::new();
        for look in 0..3 * 24 * 12 {
            for hours in order {
                let said = play.look_of(Some(HOUR * hours), &revoked());
                delivered.extend(said.into_iter().map(|(kind, ..)| (kind, hours, look * 5 / 60)));
            }
            play.wait(Duration::from_secs(300));
        }
        let reminders: Vec<_> = delivered.iter().filter(|(kind, ..)| *kind == Kind::Reminder).collect();
        assert!(reminders.iter().all(|(_, hours, _)| *hours == 6), "the other has nothing to remind of: {delivered:?}");
        let gaps: Vec<_> = delivered.windows(2).map(|two| two[1].2 - two[0].2).collect();
        assert_eq!((reminders.len(), gaps.iter().all(|gap| *gap == 6)), (11, true), "{delivered:?}");
    }
    // A node without reminders sends none, whatever others do.
    let mut play = Play::new();
    play.look(&revoked());
    play.wait(2 * DAY);
    assert_eq!(play.look_of(None, &revoked()), []);
    // A node with the shorter interval does not bring forward the reminder of one that was delivered a moment ago.
    let mut play = Play::new();
    play.look(&revoked());
    play.wait(5 * HOUR);
    assert_eq!(play.look_of(Some(6 * HOUR), &revoked()), []);
    play.wait(HOUR);
    assert_eq!(play.look_of(Some(6 * HOUR), &revoked()), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
    play.wait(18 * HOUR);
    assert_eq!(play.look(&revoked()), [], "a day after the beginning, and 18 hours after the reminder");
}

#[test]
fn alert_of_a_node_without_reminders_is_reminded_of_by_another() {
    let mut play = Play::new();
    assert_eq!(play.look_of(None, &revoked()).len(), 1);
    play.wait(2 * DAY);
    assert_eq!(play.look_of(Some(DAY), &revoked()), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
    assert_eq!(play.look_of(Some(DAY), &revoked()), []);
}

#[test]
fn unsure_finding_sends_no_reminder_and_does_not_resolve() {
    let mut play = Play::new();
    assert_eq!(play.look(&revoked()).len(), 1);
    let unsure = [Finding::Unsure("alice@contoso.com".into(), Topic::Tokens)];
    for _ in 0..10 {
        play.wait(DAY);
        assert_eq!(play.look(&unsure), []);
    }
    assert_eq!(play.look(&revoked()), told_as(Kind::Reminder, "1", "sign-in-needed AADSTS50173"));
    assert_eq!(play.look(&[])[0].0, Kind::Resolved);
}

#[test]
fn without_reminders_only_beginning_and_end_are_delivered() {
    let now = SystemTime::UNIX_EPOCH + DAY;
    let [step] = <[Step; 1]>::try_from(decide(&revoked(), &[], now, None, || "1".into())).unwrap();
    let notice = delivered(&step.new, now, None);
    assert_eq!(notice.due, None);
    assert_eq!(decide(&revoked(), std::slice::from_ref(&notice), now + 300 * DAY, None, || "2".into()), []);
    assert_eq!(decide(&[], &[notice], now + 301 * DAY, None, || "2".into())[0].tell, Some(Kind::Resolved));
}

/// What is left of a certificate's days is said as it is when it is said.
#[test]
fn a_reminder_has_the_words_of_its_own_day() {
    let now = SystemTime::UNIX_EPOCH + DAY;
    let [mut step] = <[Step; 1]>::try_from(decide(&revoked(), &[], now, Some(DAY), || "1".into())).unwrap();
    step.new = delivered(&step.new, now, Some(DAY));
    let mut findings = revoked();
    let Finding::Condition(condition) = &mut findings[0] else { panic!("it is no condition") };
    condition.what = "In 3 days.".into();
    let steps = decide(&findings, &[step.new], now + DAY, Some(DAY), || "2".into());
    assert_eq!((steps[0].tell, steps[0].new.what.as_str()), (Some(Kind::Reminder), "In 3 days."));
}
