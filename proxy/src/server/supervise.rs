//! Background tasks that outlive their own panics.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::error;

/// How long a task that panicked rests before it is restarted.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs the task that `make` creates until it ends by itself, and creates it again if it panics. A task that panics after `stop` is
/// created once more, so that it can finish its work, and not again.
pub(crate) async fn supervise<F>(
    name: &'static str,
    stop: CancellationToken,
    mut make: impl FnMut(CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let was_stopping = stop.is_cancelled();
        if tokio::spawn(make(stop.clone())).await.is_ok() || was_stopping {
            return;
        }
        error!(task = name, "a background task panicked; restarting it");
        stop.run_until_cancelled(tokio::time::sleep(RESTART_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts how often a task is created that panics the first `panics` times and then waits for `stop`.
    async fn created(panics: u32, stop: &CancellationToken) -> u32 {
        let count = Arc::new(AtomicU32::new(0));
        supervise("test", stop.clone(), |stop| {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                assert!(number > panics, "a panic that the test asks for");
                stop.cancelled().await;
            }
        })
        .await;
        count.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn panicking_task_is_restarted_after_a_pause_each_time() {
        let (stop, began) = (CancellationToken::new(), tokio::time::Instant::now());
        let stopped = async {
            tokio::time::sleep(RESTART_PAUSE * 4).await;
            stop.cancel();
        };
        let (created, ()) = tokio::join!(created(3, &stop), stopped);
        assert_eq!((created, began.elapsed()), (4, RESTART_PAUSE * 4));
    }

    #[tokio::test(start_paused = true)]
    async fn task_that_panics_after_the_stop_is_created_once_more() {
        let stop = CancellationToken::new();
        let stopped = async {
            tokio::time::sleep(RESTART_PAUSE / 2).await;
            stop.cancel();
        };
        let (created, ()) = tokio::join!(created(u32::MAX, &stop), stopped);
        assert_eq!(created, 2);
    }
}
