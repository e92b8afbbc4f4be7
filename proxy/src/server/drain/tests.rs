//! Stops, on a clock of their own.

use oxpost_token_store::{Account, Grant, Mailbox};
use tokio::task::JoinHandle;

use super::*;
use crate::limits::connection_slots::{Proof, Slot, SlotLimits, SlotSettings};

const BOUND: Duration = Duration::from_secs(60);

struct Stop {
    slots: ConnectionSlots,
    sessions: TaskTracker,
    stop_now: CancellationToken,
    began: Instant,
}

impl Stop {
    fn new() -> Self {
        let limits = SlotLimits {
            max_connections: 10_000,
            max_unauthenticated: 10_000,
            max_unauthenticated_per_source: 10_000,
            max_sessions_per_account: 10_000,
            max_sessions_per_delegate: 10_000,
            max_sessions_per_source: 10_000,
        };
        let slots = ConnectionSlots::new(SlotSettings { limits, exempt_networks: Vec::new() });
        Self { slots, sessions: TaskTracker::new(), stop_now: CancellationToken::new(), began: Instant::now() }
    }

    /// A connection that ends so long after it was asked to; gives back when it was asked.
    fn runs(&self, logged_in: bool, busy: Duration) -> JoinHandle<Duration> {
        let slot = self.slots.enter("192.0.2.1".parse().unwrap()).unwrap();
        if logged_in {
            log_in(&slot);
        }
        let began = self.began;
        self.sessions.spawn(async move {
            slot.close_request().clone().wait().await;
            let asked = began.elapsed();
            tokio::time::sleep(busy).await;
            asked
        })
    }

    async fn drain(&self) -> Drained {
        self.sessions.close();
        drain(&self.slots, &self.sessions, BOUND, &self.stop_now).await
    }
}

fn log_in(slot: &Slot) {
    let mailbox = Mailbox::parse("alice@contoso.com").unwrap();
    let account = Account::new(mailbox, "default", Grant::SignIn, std::time::SystemTime::UNIX_EPOCH);
    slot.begin_login(&account, Proof::Password).unwrap();
    assert!(slot.accept_login());
}

#[tokio::test(start_paused = true)]
async fn stop_asks_unauthenticated_first_and_spreads_sessions() {
    let stop = Stop::new();
    let strangers: Vec<_> = (0..10).map(|_| stop.runs(false, Duration::ZERO)).collect();
    let logged_in: Vec<_> = (0..100).map(|_| stop.runs(true, Duration::ZERO)).collect();
    assert_eq!(stop.drain().await, Drained::All);
    assert_eq!(stop.began.elapsed().as_millis(), 4950, "the end comes with the last session's");
    for stranger in strangers {
        assert_eq!(stranger.await.unwrap(), Duration::ZERO);
    }
    for (number, session) in (0..).zip(logged_in) {
        assert_eq!(session.await.unwrap(), Duration::from_millis(50) * number);
    }
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_busy_sessions_until_the_drain_timeout() {
    for (busy, drained, after) in [(0, Drained::All, 0), (40, Drained::All, 40), (100, Drained::TimedOut, 60)] {
        let stop = Stop::new();
        stop.runs(true, Duration::from_secs(busy));
        assert_eq!(stop.drain().await, drained, "{busy}");
        assert_eq!(stop.began.elapsed().as_secs(), after, "{busy}");
    }
}

#[tokio::test(start_paused = true)]
async fn stop_can_be_cut_short() {
    let stop = Stop::new();
    stop.runs(true, Duration::from_secs(40));
    let (drained, ()) = tokio::join!(stop.drain(), async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        stop.stop_now.cancel();
    });
    assert_eq!((drained, stop.began.elapsed().as_secs()), (Drained::CutShort, 7));
}

#[test]
fn sessions_are_asked_within_a_fifth_of_the_drain_timeout() {
    let last = |sessions, seconds| spread(sessions, Duration::from_secs(seconds)).last();
    assert_eq!(last(0, 60), None);
    assert_eq!(last(1, 60), Some(Duration::ZERO));
    assert_eq!(last(2, 60), Some(Duration::from_millis(2500)));
    assert_eq!(last(2, 10), Some(Duration::from_secs(1)));
    assert_eq!(last(5, 0), Some(Duration::ZERO));
    assert!(last(100_000, 60).is_some_and(|last| last < MAX_SPREAD && last > Duration::from_secs(4)));
}
