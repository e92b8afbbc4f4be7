//! A mail server takes so many messages of one mailbox at once and in a minute, and refuses what is beyond. Here they wait
//! instead, in the order in which they came.
//!
//! - Who logs in takes one of the mailbox's places first, and keeps it until the session has ended.
//! - Each message takes one of the minute's ([`minute`]) before it begins.
//! - What the server refuses all the same because it is too much is tried again, while nothing of a message has gone.
//! - The recipients of a day are counted ([`day`]), and those who watch are warned before the server refuses.
//!
//! What is counted is counted in this process, or, where nodes share a database, by all of them together ([`shared`]). Nobody gets here
//! without a password, and a mailbox that nothing was sent from is forgotten again: one password may open all mailboxes of a domain,
//! also those that do not exist.

mod day;
mod fair_queue;
mod gate;
mod lane;
mod minute;
mod rate;
mod shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxpost_token_store::Mailbox;
use tokio::time::Instant;

pub(crate) use fair_queue::Class;
pub(crate) use lane::Lane;
pub(crate) use lane::{Sending, Turn, Waiting};
pub(crate) use rate::Rate;

use crate::config::SendingLimits;
use crate::limits::nodes::Nodes;

/// The lanes of all mailboxes.
#[derive(Debug)]
pub struct Pacing {
    wait: Duration,
    nodes: Option<Arc<Nodes>>,
    lanes: Mutex<HashMap<(String, Mailbox), Arc<Lane>>>,
}

/// With so many lanes, and each time there are so many more, those that were never used are looked for.
const LOOK_THROUGH_EVERY: usize = 256;

impl Pacing {
    /// Nobody sends yet. Whoever has to wait waits so long at most.
    pub fn new(wait: Duration) -> Self {
        Self { wait, nodes: None, lanes: Mutex::default() }
    }

    /// The limits are those of these nodes together.
    #[must_use]
    pub fn shared_by(self, nodes: Option<Arc<Nodes>>) -> Self {
        Self { nodes, ..self }
    }

    /// The lane of a mailbox at a server. The server counts whoever has logged in there.
    pub(crate) fn lane(&self, host: &str, mailbox: &Mailbox, limits: SendingLimits) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() % LOOK_THROUGH_EVERY == LOOK_THROUGH_EVERY - 1 {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || lane.was_used());
        }
        let lane = lanes.entry((host.to_owned(), mailbox.clone())).or_insert_with(|| {
            let lane = Lane::new(mailbox.clone(), limits, self.wait);
            Arc::new(match &self.nodes {
                Some(nodes) => lane.shared(host, nodes),
                None => lane,
            })
        });
        Arc::clone(lane)
    }

    /// How long until a message of a mailbox may begin at a server, as far as is known; `None`: it may now.
    pub(crate) fn not_before(&self, host: &str, mailbox: &Mailbox) -> Option<Duration> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(&(host.to_owned(), mailbox.clone()))?.not_before()
    }

    /// A send slot of a mailbox at a server, for a session or for something that is none: waits for it behind those of its class that
    /// came before. `None`: there was none until the deadline.
    pub async fn acquire(
        &self,
        (host, limits): (&str, SendingLimits),
        mailbox: &Mailbox,
        class: Class,
        deadline: Option<Instant>,
    ) -> Option<Sending> {
        self.lane(host, mailbox, limits).acquire(class, deadline).await
    }

    /// A place of somebody's.
    #[cfg(test)]
    pub(crate) async fn place(&self, limits: SendingLimits) -> Option<Sending> {
        let lane = self.lane("smtp.example", &Mailbox::parse("scan@contoso.com").ok()?, limits);
        let patience = lane.patience();
        lane.place(&patience).await
    }

    /// How many wait at this moment, for a place or for a message to begin.
    pub fn waiting(&self) -> usize {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().map(|lane| lane.waiting()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_counted_over_all_mailboxes() {
        let pacing = Pacing::new(Duration::from_secs(45));
        let limits = SendingLimits { max_connections: 1, ..SendingLimits::default() };
        let acquire = |address: &str| {
            let mailbox = Mailbox::parse(address).unwrap();
            let pacing = &pacing;
            async move { pacing.acquire(("smtp.example", limits), &mailbox, Class::Live, None).await.unwrap() }
        };
        let _held = (acquire("a@contoso.com").await, acquire("b@contoso.com").await);
        assert_eq!(pacing.waiting(), 0);
        let mut waiting = Vec::new();
        for (number, address) in ["a@contoso.com", "a@contoso.com", "b@contoso.com"].into_iter().enumerate() {
            let mut one = Box::pin(acquire(address));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(one.as_mut().poll(&mut cx).is_pending());
            waiting.push(one);
            assert_eq!(pacing.waiting(), number + 1);
        }
        drop(waiting);
        assert_eq!(pacing.waiting(), 0);
    }

    #[tokio::test]
    async fn mailboxes_that_nothing_was_sent_from_are_forgotten() {
        let pacing = Pacing::new(Duration::ZERO);
        let of = |number: usize| {
            let mailbox = Mailbox::parse(&format!("{number}@contoso.com")).unwrap();
            pacing.lane("smtp.example", &mailbox, SendingLimits::default())
        };
        let held = of(0);
        let sent = of(1);
        drop(sent.place(&sent.patience()).await.unwrap().turn());
        drop(sent);
        for number in 2..10 * LOOK_THROUGH_EVERY {
            of(number);
        }
        assert!(pacing.lanes.lock().unwrap().len() <= LOOK_THROUGH_EVERY);
        assert!(Arc::ptr_eq(&held, &of(0)), "whoever waits in it is not alone in another one");
        assert!(of(1).was_used(), "its minute and its day are still counted");
    }
}
