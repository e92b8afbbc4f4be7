//! How many logins of one source are checked at once. The others of it wait, so that a source that sends many fills neither
//! the queue of the hashes nor makes many guesses before the first of them is counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::source::Source;

/// The bound.
const AT_ONCE: usize = 8;

/// The turns.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Source, Arc<Semaphore>>>);

/// One login's turn; the next one's comes when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    source: Source,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn wait(&self, source: Source) -> Turn<'_> {
        let semaphore = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(waiting.entry(source).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
        };
        // Made first, so that whoever stops waiting tidies up as well.
        let mut turn = Turn { turns: self, source, permit: None };
        turn.permit = semaphore.acquire_owned().await.ok();
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        // Only this map holds it: nobody has a turn there, and nobody waits.
        if waiting.get(&self.source).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            waiting.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_at_once_and_nothing_is_left_behind() {
        let (turns, source) = (Turns::default(), Source::of("192.0.2.7".parse().unwrap()));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.wait(source).await);
        }
        let mut ninth = Box::pin(turns.wait(source));
        assert!(futures_now(&mut ninth).is_none());
        let _other = turns.wait(Source::of("192.0.2.8".parse().unwrap())).await;
        held.pop();
        let ninth = futures_now(&mut ninth).unwrap();
        let mut gave_up = Box::pin(turns.wait(source));
        assert!(futures_now(&mut gave_up).is_none());
        drop((held, ninth, gave_up));
        assert_eq!(turns.0.lock().unwrap().len(), 1, "only the other's");
    }

    fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        match std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
