//! The last part of a stop: every connection is asked to close, and what is in the middle of something may finish it.
//!
//! Connections that have not logged in are asked immediately. Sessions are asked one after the other, because most clients
//! connect again as soon as they are told: together they would be a burst for the node, or for the next process, that they
//! connect to.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::limits::connection_slots::ConnectionSlots;

/// Within this time every session was asked to close. Longer is a longer outage for those that are asked last.
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// And within this part of the drain timeout, so that the last one asked has time to finish as well.
const SPREAD_SHARE: u32 = 5;

/// How an orderly stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every session has ended.
    All,
    /// The drain timeout is over, and some have not.
    TimedOut,
    /// It was cut short.
    CutShort,
}

/// Asks all connections to close, and waits until their sessions have ended, for as long as `bound` and until `stop_now`. The
/// listeners are closed by then, and `sessions` takes no more.
pub(crate) async fn drain(
    slots: &ConnectionSlots,
    sessions: &TaskTracker,
    bound: Duration,
    stop_now: &CancellationToken,
) -> Drained {
    let began = Instant::now();
    let logged_in = slots.begin_stop();
    if !sessions.is_empty() {
        info!(
            connections = sessions.len(),
            sessions = logged_in.len(),
            seconds = bound.as_secs(),
            "stopping; sessions may finish what they are doing"
        );
    }
    let asking = async {
        for (session, after) in logged_in.iter().zip(spread(logged_in.len(), bound)) {
            sleep_until(began + after).await;
            slots.ask_to_stop(*session);
        }
        std::future::pending().await
    };
    let drained = tokio::select! {
        biased;
        () = stop_now.cancelled() => Drained::CutShort,
        () = sessions.wait() => Drained::All,
        () = sleep_until(began + bound) => Drained::TimedOut,
        drained = asking => drained,
    };
    match drained {
        Drained::All => {}
        Drained::TimedOut => warn!(
            sessions = sessions.len(),
            "the drain timeout is over; ended sessions in the middle of something (see [limits] drain-timeout)"
        ),
        Drained::CutShort => warn!(sessions = sessions.len(), "stopped at once"),
    }
    drained
}

/// When each of so many sessions is asked, from the beginning of the stop on.
fn spread(sessions: usize, bound: Duration) -> impl Iterator<Item = Duration> {
    let within = MAX_SPREAD.min(bound / SPREAD_SHARE);
    let step = within / u32::try_from(sessions.max(1)).unwrap_or(u32::MAX);
    (0..sessions).map(move |number| step * u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
