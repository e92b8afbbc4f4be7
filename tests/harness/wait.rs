//! Waiting for what another process does in its own time.

use std::time::{Duration, Instant};

use super::binary::PATIENCE;

/// Tries until something is there. The clock on the wall ends it, also where that of the runtime is paused.
///
/// # Panics
/// It does not come for a long time.
#[allow(clippy::panic, reason = "it stands for an assertion of the test")]
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        // A paused clock does not run ahead while such a task runs.
        let _ = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))).await;
    }
}
