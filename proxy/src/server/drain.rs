//! The last part of a stop: every connection is asked to close, and may finish what is in progress.
//!
//! Connections that have not logged in are asked immediately. Sessions are asked one after the other, because most clients
//! reconnect as soon as they are closed: all together would be a burst for the node or process that they connect to.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::limits::connection_slots::ConnectionSlots;

/// The time within which every session is asked to close. More would be a longer outage for the last ones.
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// At most this part of the drain timeout (a fifth), so that the last session has time to finish as well.
const SPREAD_SHARE: u32 = 5;

/// How an orderly stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every session has ended.
    All,
    /// Some sessions had not ended when the drain timeout expired.
    TimedOut,
    /// It was cut short.
    CutShort,
}

/// Asks all connections to close, and waits until their sessions have ended, for as long as `bound` and until `stop_now`. The
/// listeners are closed by then, and `sessions` is closed.
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
            "stopping; sessions may finish what is in progress"
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
            "drain timeout expired; closing the remaining sessions (see [limits] drain-timeout)"
        ),
        Drained::CutShort => warn!(sessions = sessions.len(), "stopping immediately; closing the remaining sessions"),
    }
    drained
}

/// When each session is asked, since the beginning of the stop.
fn spread(sessions: usize, bound: Duration) -> impl Iterator<Item = Duration> {
    let within = MAX_SPREAD.min(bound / SPREAD_SHARE);
    let step = within / u32::try_from(sessions.max(1)).unwrap_or(u32::MAX);
    (0..sessions).map(move |number| step * u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
