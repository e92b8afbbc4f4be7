//! A mail server accepts a number of concurrent sessions and of messages a minute per mailbox, and refuses more. Here they wait
//! instead, in order of arrival.
//!
//! - A login acquires one of the mailbox's send slots first, and holds it until the session has ended.
//! - Each message needs a permit of the minute ([`minute_window`]) before it begins.
//! - What the server nevertheless refuses because of its limits is retried, as long as nothing of a message was sent.
//! - The recipients of a day are counted ([`recipients_per_day`]), and there is a warning before the server refuses.
//!
//! What is counted is counted in this process, or, where nodes share a database, by all of them together ([`shared`]). Only a client
//! with a password causes an entry, and a mailbox that sent nothing is forgotten again: one password may open all mailboxes of a domain,
//! also those that do not exist.

mod fair_queue;
mod fair_slots;
mod mailbox_limiter;
mod minute_window;
mod rate;
mod recipients_per_day;
mod shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxpost_token_store::Mailbox;
use tokio::time::Instant;

pub(crate) use fair_queue::Class;
pub(crate) use mailbox_limiter::MailboxLimiter;
pub(crate) use mailbox_limiter::{MessagePermit, PendingPermit, RecipientCounter, SendSlot};
pub(crate) use rate::Rate;

use crate::config::SendingLimits;
use crate::limits::nodes::Nodes;

/// The limiters of all mailboxes.
#[derive(Debug)]
pub struct SendLimiter {
    wait: Duration,
    nodes: Option<Arc<Nodes>>,
    mailboxes: Mutex<HashMap<(String, Mailbox), Arc<MailboxLimiter>>>,
}

/// Each time so many mailboxes were added, those that were never used are removed.
const SWEEP_EVERY: usize = 256;

impl SendLimiter {
    /// `wait`: how long a session waits for a slot, or a message for a permit.
    pub fn new(wait: Duration) -> Self {
        Self { wait, nodes: None, mailboxes: Mutex::default() }
    }

    /// The limits are those of these nodes together.
    #[must_use]
    pub fn shared_by(self, nodes: Option<Arc<Nodes>>) -> Self {
        Self { nodes, ..self }
    }

    /// The limiter of a mailbox at a server. The server counts the user who has logged in.
    pub(crate) fn mailbox(&self, host: &str, mailbox: &Mailbox, limits: SendingLimits) -> Arc<MailboxLimiter> {
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if mailboxes.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            mailboxes.retain(|_, limiter| Arc::strong_count(limiter) > 1 || limiter.was_used());
        }
        let limiter = mailboxes.entry((host.to_owned(), mailbox.clone())).or_insert_with(|| {
            let limiter = MailboxLimiter::new(mailbox.clone(), limits, self.wait);
            Arc::new(match &self.nodes {
                Some(nodes) => limiter.shared(host, nodes),
                None => limiter,
            })
        });
        Arc::clone(limiter)
    }

    /// How long until a message of a mailbox may begin at a server, as far as is known; `None`: it may now.
    pub(crate) fn not_before(&self, host: &str, mailbox: &Mailbox) -> Option<Duration> {
        let mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.get(&(host.to_owned(), mailbox.clone()))?.not_before()
    }

    /// A send slot of a mailbox at a server, for a session or a background task: waits for it after those of its class that
    /// came before. `None`: there was none until the deadline.
    pub async fn acquire(
        &self,
        (host, limits): (&str, SendingLimits),
        mailbox: &Mailbox,
        class: Class,
        deadline: Option<Instant>,
    ) -> Option<SendSlot> {
        self.mailbox(host, mailbox, limits).acquire(class, deadline).await
    }

    /// A send slot of a mailbox of the tests.
    #[cfg(test)]
    pub(crate) async fn send_slot(&self, limits: SendingLimits) -> Option<SendSlot> {
        let limiter = self.mailbox("smtp.example", &Mailbox::parse("scan@contoso.com").ok()?, limits);
        let budget = limiter.budget();
        limiter.send_slot(&budget).await
    }

    /// How many wait at this moment, for a slot or for a permit.
    pub fn waiting(&self) -> usize {
        let mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.values().map(|limiter| limiter.waiting()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiters_are_counted_over_all_mailboxes() {
        let limiter = SendLimiter::new(Duration::from_secs(45));
        let limits = SendingLimits { max_connections: 1, ..SendingLimits::default() };
        let acquire = |address: &str| {
            let mailbox = Mailbox::parse(address).unwrap();
            let limiter = &limiter;
            async move { limiter.acquire(("smtp.example", limits), &mailbox, Class::Live, None).await.unwrap() }
        };
        let _held = (acquire("a@contoso.com").await, acquire("b@contoso.com").await);
        assert_eq!(limiter.waiting(), 0);
        let mut waiting = Vec::new();
        for (number, address) in ["a@contoso.com", "a@contoso.com", "b@contoso.com"].into_iter().enumerate() {
            let mut one = Box::pin(acquire(address));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(one.as_mut().poll(&mut cx).is_pending());
            waiting.push(one);
            assert_eq!(limiter.waiting(), number + 1);
        }
        drop(waiting);
        assert_eq!(limiter.waiting(), 0);
    }

    #[tokio::test]
    async fn unused_mailboxes_are_removed() {
        let limiter = SendLimiter::new(Duration::ZERO);
        let of = |number: usize| {
            let mailbox = Mailbox::parse(&format!("{number}@contoso.com")).unwrap();
            limiter.mailbox("smtp.example", &mailbox, SendingLimits::default())
        };
        let held = of(0);
        let sent = of(1);
        drop(sent.send_slot(&sent.budget()).await.unwrap().permit());
        drop(sent);
        for number in 2..10 * SWEEP_EVERY {
            of(number);
        }
        assert!(limiter.mailboxes.lock().unwrap().len() <= SWEEP_EVERY);
        assert!(Arc::ptr_eq(&held, &of(0)), "the limiter of a waiting session is not replaced");
        assert!(of(1).was_used(), "its minute and its day are still counted");
    }
}
