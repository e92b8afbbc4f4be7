//! The limiter of one mailbox: its send slots, and the permits of its messages.

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

use super::fair_queue::Class;
use super::fair_slots::{FairSlots, HeldSlot};
use super::rate::Rate;
use super::recipients_per_day::RecipientsPerDay;
use super::shared::SharedLimiter;
use crate::config::SendingLimits;
use crate::limits::nodes::Nodes;

/// The pause after the first refusal because of limits; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// One mailbox at one server.
#[derive(Debug)]
pub(crate) struct MailboxLimiter {
    mailbox: Mailbox,
    limits: SendingLimits,
    wait: Duration,
    /// None: without a limit.
    slots: Option<Arc<FairSlots>>,
    minute: Rate,
    day: Mutex<RecipientsPerDay>,
    messages_waiting: AtomicUsize,
    used: AtomicBool,
    /// Where nodes share the limits: then all of the above but the counts is there.
    shared: Option<Arc<SharedLimiter>>,
}

/// One of the concurrent sessions of a mailbox. It is free again when this is dropped.
#[derive(Debug)]
pub struct SendSlot {
    limiter: Arc<MailboxLimiter>,
    /// What holds its client besides.
    rate: Option<Arc<Rate>>,
    slot: Option<HeldSlot>,
    class: Class,
}

impl MailboxLimiter {
    pub(crate) fn new(mailbox: Mailbox, limits: SendingLimits, wait: Duration) -> Self {
        Self {
            mailbox,
            limits,
            wait,
            slots: (limits.max_connections > 0).then(|| Arc::new(FairSlots::new(limits.max_connections))),
            minute: Rate::of(limits.messages_per_minute),
            day: Mutex::new(RecipientsPerDay::of(limits.recipients_per_day)),
            messages_waiting: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            shared: None,
        }
    }

    /// The same for a mailbox at this server, whose limits are those of several nodes together.
    pub(super) fn shared(self, server: &str, nodes: &Arc<Nodes>) -> Self {
        let shared = SharedLimiter::new(Arc::clone(nodes), server, self.mailbox.clone(), self.limits);
        Self { slots: shared.slots(), shared: Some(Arc::new(shared)), ..self }
    }

    /// The server has refused because of its limits. Other nodes are notified.
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

    /// Waits for a message's permit, after those of its class that came before.
    async fn permit(&self, class: Class) {
        match &self.shared {
            Some(shared) => shared.permit(class).await,
            None => self.minute.permit(class).await,
        }
    }

    /// The reply to a client whose message had no permit in time.
    pub(super) fn permit_timed_out(&self) -> String {
        match &self.shared {
            Some(shared) if !shared.can_agree() => {
                "451 4.3.2 The database that holds the sending limits is out of reach, or was a moment ago. Try again in a few minutes".to_owned()
            }
            _ => format!(
                "451 4.3.2 {} sends more than the {} messages a minute that the mail server accepts. Try again in a minute",
                self.mailbox,
                self.limits.messages_per_minute
            ),
        }
    }

    /// Why nodes cannot agree on a send slot now, if that is so: the limit itself may not be reached.
    pub(crate) fn unreachable_database(&self) -> Option<&'static str> {
        let cannot = self.shared.as_ref().is_some_and(|shared| !shared.can_agree());
        cannot.then_some(
            "The database that holds the sending limits is out of reach, or does not accept changes. Try again in a few minutes; the \
             administrator finds the reason in Oxpost's log.",
        )
    }

    /// Waits for a slot, after those that came before. `None`: there was none in time.
    pub(crate) async fn send_slot(self: &Arc<Self>, budget: &WaitBudget) -> Option<SendSlot> {
        self.acquire(Class::Live, Some(budget.until)).await
    }

    /// Waits for a slot, after those of its class that came before. `None`: there was none until then.
    pub(super) async fn acquire(self: &Arc<Self>, class: Class, deadline: Option<Instant>) -> Option<SendSlot> {
        let _arrives = self.shared.as_ref().map(|shared| shared.arrives());
        let slot = match (&self.slots, deadline) {
            (None, _) => None,
            (Some(slots), None) => Some(slots.acquire(class).await),
            (Some(slots), Some(deadline)) => Some(timeout_at(deadline, slots.acquire(class)).await.ok()?),
        };
        Some(SendSlot { limiter: Arc::clone(self), rate: None, slot, class })
    }

    pub(crate) fn budget(&self) -> WaitBudget {
        WaitBudget { until: Instant::now() + self.wait, pause: FIRST_PAUSE }
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
        self.slots.as_ref().map_or(0, |slots| slots.waiting()) + self.messages_waiting.load(Ordering::SeqCst)
    }

    /// Until there is a waiter for a slot.
    async fn is_wanted(&self) {
        match &self.slots {
            Some(slots) => slots.is_wanted().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn max_connections(&self) -> usize {
        self.limits.max_connections
    }
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// How long a login or message may still wait, and the next pause before a retry.
#[derive(Debug)]
pub(crate) struct WaitBudget {
    until: Instant,
    pause: Duration,
}

impl WaitBudget {
    /// Pauses before a retry. `false`: no time is left for that.
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
pub struct MessagePermit {
    limiter: Arc<MailboxLimiter>,
    rate: Option<Arc<Rate>>,
    budget: WaitBudget,
    class: Class,
}

/// A permit that is waited for; the message may begin, or this is the reply to its client.
pub(crate) type PendingPermit = Pin<Box<dyn Future<Output = (MessagePermit, Result<(), String>)> + Send>>;

impl MessagePermit {
    /// Waits for it.
    pub fn wait(self) -> PendingPermit {
        Box::pin(async move {
            let limiter = Arc::clone(&self.limiter);
            let _waits = limiter.count_message();
            let began = Instant::now();
            let class = self.class;
            let held = self.rate.as_deref();
            let mut holds = held;
            let permits = async {
                if let Some(rate) = held {
                    tokio::select! {
                        biased;
                        () = rate.permit(class) => {}
                        // It holds a slot that others could use.
                        () = limiter.is_wanted() => return false,
                    }
                }
                holds = None;
                limiter.permit(class).await;
                true
            };
            let permitted = timeout_at(self.budget.until, permits).await.unwrap_or(false);
            let seconds = began.elapsed().as_secs();
            if seconds > 0 {
                info!(mailbox = %limiter.mailbox, seconds, "message delayed by the send limit");
            }
            let answer = permitted.then_some(()).ok_or_else(|| {
                reply_text(&match holds {
                    Some(rate) => format!(
                        "451 4.3.2 More than {} messages a minute, the limit for sending from this address without a login. Try again in a minute",
                        rate.limit()
                    ),
                    None => limiter.permit_timed_out(),
                })
            });
            (self, answer)
        })
    }

    /// The server has refused it because it was too much all the same. Waits a little longer each time.
    pub fn retry(mut self) -> PendingPermit {
        Box::pin(async move {
            let limiter = Arc::clone(&self.limiter);
            let _waits = limiter.count_message();
            limiter.refused();
            let time_is_left = self.budget.pause().await;
            (self, if time_is_left { Ok(()) } else { Err("451 4.3.2 Try again later".to_owned()) })
        })
    }
}

impl MailboxLimiter {
    fn count_message(&self) -> impl Drop + '_ {
        self.messages_waiting.fetch_add(1, Ordering::SeqCst);
        OnDrop(|| {
            self.messages_waiting.fetch_sub(1, Ordering::SeqCst);
        })
    }
}

impl SendSlot {
    /// A message is about to begin.
    pub fn permit(&self) -> MessagePermit {
        self.limiter.used.store(true, Ordering::Relaxed);
        MessagePermit {
            limiter: Arc::clone(&self.limiter),
            rate: self.rate.clone(),
            budget: self.limiter.budget(),
            class: self.class,
        }
    }

    /// Its messages count against this too, and wait for it.
    #[must_use]
    pub fn limited_by(self, rate: Option<Arc<Rate>>) -> Self {
        Self { rate, ..self }
    }

    /// It is idle, and for too long from this moment on while others wait. Whether it must make room then: as many do as wait, those
    /// first that are due first. The caller is woken when that changes.
    pub fn poll_must_make_room(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        self.slot.as_mut().is_some_and(|slot| slot.poll_must_make_room(due, cx))
    }

    /// It is in use.
    pub fn busy(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.busy();
        }
    }

    /// It is on its way to be free.
    pub fn mark_leaving(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.mark_leaving();
        }
    }

    /// Counts what has been sent.
    pub fn recipient_counter(&self) -> RecipientCounter {
        RecipientCounter(Arc::clone(&self.limiter))
    }
}

/// The recipients of a mailbox's day.
#[derive(Debug)]
pub struct RecipientCounter(Arc<MailboxLimiter>);

impl RecipientCounter {
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
