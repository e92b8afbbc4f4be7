//! The lane of one mailbox: its places, and the turns of its messages.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use oxpost_protocol::line::reply_text;
use oxpost_protocol::smtp::submission::{Event, Outcome};
use oxpost_token_store::Mailbox;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::day::Day;
use super::fair_queue::Class;
use super::gate::{Gate, Held};
use super::rate::Rate;
use super::shared::SharedLimiter;
use crate::config::SendingLimits;
use crate::limits::nodes::Nodes;

/// How long to leave the server alone when it says for the first time that it is too much; each further time twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// One mailbox at one server.
#[derive(Debug)]
pub(crate) struct Lane {
    mailbox: Mailbox,
    limits: SendingLimits,
    wait: Duration,
    /// None: without a limit.
    places: Option<Arc<Gate>>,
    minute: Rate,
    day: Mutex<Day>,
    messages_waiting: AtomicUsize,
    used: AtomicBool,
    /// Where nodes share the limits: then all of the above but the counts is there.
    shared: Option<Arc<SharedLimiter>>,
}

/// A place among the sessions that a mailbox may have at once. It is free again when this is dropped.
#[derive(Debug)]
pub struct Sending {
    lane: Arc<Lane>,
    /// What holds its client besides.
    rate: Option<Arc<Rate>>,
    place: Option<Held>,
    class: Class,
}

impl Lane {
    pub(crate) fn new(mailbox: Mailbox, limits: SendingLimits, wait: Duration) -> Self {
        Self {
            mailbox,
            limits,
            wait,
            places: (limits.max_connections > 0).then(|| Arc::new(Gate::new(limits.max_connections))),
            minute: Rate::of(limits.messages_per_minute),
            day: Mutex::new(Day::of(limits.recipients_per_day)),
            messages_waiting: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            shared: None,
        }
    }

    /// The same for a mailbox at this server, whose limits are those of several nodes together.
    pub(super) fn shared(self, server: &str, nodes: &Arc<Nodes>) -> Self {
        let shared = SharedLimiter::new(Arc::clone(nodes), server, self.mailbox.clone(), self.limits);
        Self { places: shared.gate(), shared: Some(Arc::new(shared)), ..self }
    }

    /// The server has said that it is too much. Other nodes hear of it.
    pub(crate) fn refused(&self) {
        if let Some(shared) = &self.shared {
            shared.refused();
        }
    }

    /// How long until a message may begin, as far as is known; `None`: it may now.
    pub(super) fn not_before(&self) -> Option<Duration> {
        match &self.shared {
            Some(shared) => shared.not_before(),
            None => self.minute.wait(),
        }
    }

    /// Waits for a message's turn, behind those of its class that came before.
    async fn turn(&self, class: Class) {
        match &self.shared {
            Some(shared) => shared.permit(class).await,
            None => self.minute.turn(class).await,
        }
    }

    /// What a client is told whose message had no turn in time.
    pub(super) fn without_a_turn(&self) -> String {
        match &self.shared {
            Some(shared) if !shared.can_agree() => {
                "451 4.3.2 The database that holds the sending limits is out of reach, or was a moment ago. Try again in a few minutes".to_owned()
            }
            _ => format!(
                "451 4.3.2 {} sends more than the {} messages a minute that the mail server takes. Try again in a minute",
                self.mailbox,
                self.limits.messages_per_minute
            ),
        }
    }

    /// Why nodes cannot agree on a send slot now, if that is so: the limit itself may not be reached.
    pub(crate) fn without_agreement(&self) -> Option<&'static str> {
        let cannot = self.shared.as_ref().is_some_and(|shared| !shared.can_agree());
        cannot.then_some(
            "The database that holds the sending limits is out of reach, or does not accept changes. Try again in a few minutes; the \
             administrator finds the reason in Oxpost's log.",
        )
    }

    /// Waits for a place, behind those who came before. `None`: there was none in time.
    pub(crate) async fn place(self: &Arc<Self>, patience: &Patience) -> Option<Sending> {
        self.acquire(Class::Live, Some(patience.until)).await
    }

    /// Waits for a place, behind those of its class that came before. `None`: there was none until then.
    pub(super) async fn acquire(self: &Arc<Self>, class: Class, deadline: Option<Instant>) -> Option<Sending> {
        let _arrives = self.shared.as_ref().map(|shared| shared.arrives());
        let place = match (&self.places, deadline) {
            (None, _) => None,
            (Some(places), None) => Some(places.acquire(class).await),
            (Some(places), Some(deadline)) => Some(timeout_at(deadline, places.acquire(class)).await.ok()?),
        };
        Some(Sending { lane: Arc::clone(self), rate: None, place, class })
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience { until: Instant::now() + self.wait, pause: FIRST_PAUSE }
    }

    /// Whether a message ever wanted to begin.
    pub(super) fn was_used(&self) -> bool {
        match &self.shared {
            // The rest is in the store.
            Some(shared) => shared.runs(),
            None => self.used.load(Ordering::Relaxed),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.places.as_ref().map_or(0, |places| places.waiting()) + self.messages_waiting.load(Ordering::SeqCst)
    }

    /// Until somebody waits for a place.
    async fn is_wanted(&self) {
        match &self.places {
            Some(places) => places.is_wanted().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn at_once(&self) -> usize {
        self.limits.max_connections
    }
}

/// Done when whoever waits does so no more, whatever the reason.
struct Leaving<F: FnMut()>(F);

impl<F: FnMut()> Drop for Leaving<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// How long somebody may still wait.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    /// Leaves a server alone that says that it is too much. `false`: there is no time for that any more.
    pub(crate) async fn pause(&mut self) -> bool {
        let over = Instant::now() + self.pause;
        if over >= self.until {
            return false;
        }
        tokio::time::sleep_until(over).await;
        self.pause *= 2;
        true
    }
}

/// A message on its way to its beginning.
#[derive(Debug)]
pub struct Turn {
    lane: Arc<Lane>,
    rate: Option<Arc<Rate>>,
    patience: Patience,
    class: Class,
}

/// A turn that is waited for; the message may begin, or this is what its client is told.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = (Turn, Result<(), String>)> + Send>>;

impl Turn {
    /// Waits for it.
    pub fn come(self) -> Waiting {
        Box::pin(async move {
            let lane = Arc::clone(&self.lane);
            let _waits = lane.count_message();
            let began = Instant::now();
            let class = self.class;
            let held = self.rate.as_deref();
            let mut holds = held;
            let turns = async {
                if let Some(rate) = held {
                    tokio::select! {
                        biased;
                        () = rate.turn(class) => {}
                        // It holds a place that others could use.
                        () = lane.is_wanted() => return false,
                    }
                }
                holds = None;
                lane.turn(class).await;
                true
            };
            let come = timeout_at(self.patience.until, turns).await.unwrap_or(false);
            let seconds = began.elapsed().as_secs();
            if seconds > 0 {
                info!(mailbox = %lane.mailbox, seconds, "a message waited for its turn");
            }
            let answer = come.then_some(()).ok_or_else(|| {
                reply_text(&match holds {
                    Some(rate) => format!(
                        "451 4.3.2 More than {} a minute: so many messages may be sent from here without a login. Try again in a minute",
                        rate.limit()
                    ),
                    None => lane.without_a_turn(),
                })
            });
            (self, answer)
        })
    }

    /// The server has refused it because it was too much all the same. Waits a little longer each time.
    pub fn come_again(mut self) -> Waiting {
        Box::pin(async move {
            let lane = Arc::clone(&self.lane);
            let _waits = lane.count_message();
            lane.refused();
            let time_is_left = self.patience.pause().await;
            (self, if time_is_left { Ok(()) } else { Err("451 4.3.2 Try again later".to_owned()) })
        })
    }
}

impl Lane {
    fn count_message(&self) -> impl Drop + '_ {
        self.messages_waiting.fetch_add(1, Ordering::SeqCst);
        Leaving(|| {
            self.messages_waiting.fetch_sub(1, Ordering::SeqCst);
        })
    }
}

impl Sending {
    /// A message is about to begin.
    pub fn turn(&self) -> Turn {
        self.lane.used.store(true, Ordering::Relaxed);
        Turn {
            lane: Arc::clone(&self.lane),
            rate: self.rate.clone(),
            patience: self.lane.patience(),
            class: self.class,
        }
    }

    /// Its messages count against this too, and wait for it.
    #[must_use]
    pub fn held_to(self, rate: Option<Arc<Rate>>) -> Self {
        Self { rate, ..self }
    }

    /// It is idle, and for too long from this moment on while others wait. Whether it must make room then: as many do as wait, those
    /// first that are due first. Whoever asks is woken when that changes.
    pub fn poll_must_make_room(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        self.place.as_mut().is_some_and(|place| place.poll_must_make_room(due, cx))
    }

    /// It is in use.
    pub fn busy(&mut self) {
        if let Some(place) = &mut self.place {
            place.busy();
        }
    }

    /// It is on its way to be free.
    pub fn makes_room(&mut self) {
        if let Some(place) = &mut self.place {
            place.makes_room();
        }
    }

    /// Counts what has been sent.
    pub fn tally(&self) -> Tally {
        Tally(Arc::clone(&self.lane))
    }
}

/// The recipients of a mailbox's day.
#[derive(Debug)]
pub struct Tally(Arc<Lane>);

impl Tally {
    /// Counts the recipients of a message that was sent, or may have been, and warns before the server refuses.
    pub fn note(&self, event: &Event) {
        let Event::Message(report) = event else { return };
        if !matches!(report.outcome, Outcome::Accepted(_) | Outcome::InDoubt) {
            return;
        }
        if let Some(shared) = &self.0.shared {
            return shared.sent(report.recipient_count);
        }
        let mut day = self.0.day.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(warning) = day.count(report.recipient_count, Instant::now()) {
            warn_of_recipients(&self.0.mailbox, warning.recipients, warning.limit);
        }
    }
}

pub(super) fn warn_of_recipients(mailbox: &Mailbox, recipients: u64, limit: u64) {
    warn!(
        %mailbox,
        recipients,
        limit,
        "this mailbox has sent to nearly as many recipients within a day as the mail server allows; beyond that it refuses \
         every message. Spread the mail over several mailboxes, or use a service for bulk mail"
    );
}

#[cfg(test)]
mod tests;
