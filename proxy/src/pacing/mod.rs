//! A mail server takes so many messages of one mailbox at once and in a minute, and refuses what is beyond. Here they wait
//! instead, in the order in which they came.
//!
//! - Who logs in takes one of the mailbox's places first, and keeps it until the session has ended.
//! - Each message takes one of the minute's ([`minute`]) before it begins.
//! - What the server refuses all the same because it is too much is tried again, while nothing of a message has gone.
//! - The recipients of a day are counted ([`day`]), and those who watch are warned before the server refuses.
//!
//! What is counted is counted in this process. A mailbox is known here only once somebody has logged in to it, so strangers
//! take no memory.

mod day;
mod lane;
mod login;
mod minute;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxpost_token_store::Mailbox;

pub use lane::{Crowd, Sending, Tally, Turn, Waiting};
pub use login::log_in;

use crate::config::SendingLimits;
use lane::Lane;

/// How long a session may say nothing between two messages while others wait for its place. A pool of connections that
/// idles must not keep everybody else out; whoever has something to say says it at once.
pub const REST_WHILE_OTHERS_WAIT: Duration = Duration::from_secs(10);

/// The lanes of all mailboxes.
#[derive(Debug)]
pub struct Pacing {
    wait: Duration,
    lanes: Mutex<HashMap<(String, Mailbox), Arc<Lane>>>,
}

impl Pacing {
    /// Nobody sends yet. Whoever has to wait waits so long at most.
    pub fn new(wait: Duration) -> Self {
        Self { wait, lanes: Mutex::default() }
    }

    /// The lane of a mailbox at a server. The server counts whoever has logged in there.
    fn lane(&self, host: &str, mailbox: &Mailbox, limits: SendingLimits) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes
            .entry((host.to_owned(), mailbox.clone()))
            .or_insert_with(|| Arc::new(Lane::new(mailbox.clone(), limits, self.wait)));
        Arc::clone(lane)
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
