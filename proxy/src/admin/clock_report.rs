//! Notes in the store with which clocks this machine's clock disagrees, for `oxpost status` and `oxpost doctor`.

use std::time::Duration;

use oxpost_token_store::ClockSkew;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::context::ServerContext;

/// How often it is looked whether the database's clock agrees; what a sign-in service shows is looked at immediately.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How often what is still so is noted again: within an hour it would count no longer.
const NOTE_AGAIN: Duration = Duration::from_secs(10 * 60);

/// What differs by less is the same.
const SAME: Duration = Duration::from_secs(60);

/// What was noted, and when, by a monotonic clock.
type Noted = Option<(Vec<ClockSkew>, Duration)>;

/// Looks until the stop.
pub(crate) async fn keep(context: ServerContext, stop: CancellationToken) {
    let mut news = context.runtime.tokens.clock_news();
    let mut noted: Noted = None;
    while !stop.is_cancelled() {
        news.mark_unchanged();
        let (skews, elapsed) = (context.runtime.tokens.clock_skews(), context.runtime.clock.elapsed());
        if is_to_be_noted(&noted, &skews, elapsed) {
            match context.runtime.store.note_clock_skews(&context.settings.host_name, &skews).await {
                Ok(()) => noted = Some((skews, elapsed)),
                Err(error) => debug!(%error, "the clock differences cannot be stored; trying again"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(()) = news.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn is_to_be_noted(noted: &Noted, skews: &[ClockSkew], elapsed: Duration) -> bool {
    let Some((known, then)) = noted else { return true };
    let is_same = |(one, other): (&ClockSkew, &ClockSkew)| {
        one.peer == other.peer && one.ahead == other.ahead && one.by.abs_diff(other.by) < SAME
    };
    let same = known.len() == skews.len() && known.iter().zip(skews).all(is_same);
    !same || !skews.is_empty() && elapsed.saturating_sub(*then) >= NOTE_AGAIN
}

/// `1h 2m ahead of that of login.example`.
pub(crate) fn words(skew: &ClockSkew) -> String {
    let seconds = match skew.by.as_secs() {
        seconds @ ..120 => seconds,
        seconds => seconds / 60 * 60,
    };
    let by = humantime::format_duration(Duration::from_secs(seconds));
    format!("{by} {} that of {}", if skew.ahead { "ahead of" } else { "behind" }, skew.peer)
}

/// What is wrong with a machine's clock, and what to do.
pub(crate) fn sentence(host: &str, skew: &ClockSkew) -> String {
    let which =
        if skew.peer == ClockSkew::DATABASE { " (or that of the database, if it is the wrong one)" } else { "" };
    format!(
        "The clock of {host} is {}. Set it{which}: Windows: w32tm /resync, Linux: timedatectl set-ntp true.",
        words(skew)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(peer: &str, minutes: u64) -> ClockSkew {
        ClockSkew { peer: peer.into(), by: Duration::from_secs(60 * minutes), ahead: true }
    }

    #[test]
    fn wrong_clock_is_noted_when_it_changes_and_every_ten_minutes() {
        let at = |minutes: u64| Duration::from_secs(60 * minutes);
        assert!(is_to_be_noted(&None, &[], at(0)), "what an earlier process has left is forgotten");
        let right = Some((Vec::new(), at(0)));
        assert!(!is_to_be_noted(&right, &[], at(60)));
        assert!(is_to_be_noted(&right, &[skew("a", 6)], at(0)));
        let wrong = Some((vec![skew("a", 6)], at(0)));
        assert!(!is_to_be_noted(&wrong, &[skew("a", 6)], at(9)));
        assert!(is_to_be_noted(&wrong, &[skew("a", 6)], at(10)));
        for other in [&[][..], &[skew("b", 6)], &[skew("a", 7)], &[skew("a", 6), skew("b", 6)]] {
            assert!(is_to_be_noted(&wrong, other, at(1)), "{other:?}");
        }
        let behind = ClockSkew { ahead: false, ..skew("a", 6) };
        assert!(is_to_be_noted(&wrong, &[behind], at(1)));
    }

    #[test]
    fn sentence_names_the_machine_and_the_remedy() {
        assert_eq!(
            sentence("mx1", &skew("login.example", 62)),
            "The clock of mx1 is 1h 2m ahead of that of login.example. Set it: Windows: w32tm /resync, Linux: timedatectl set-ntp true."
        );
        assert!(
            sentence("mx1", &skew(ClockSkew::DATABASE, 2))
                .contains("that of the database. Set it (or that of the database")
        );
    }
}
