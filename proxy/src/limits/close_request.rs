//! Asking a session to close, with the reason, so that its protocol can tell the client why.

use tokio::sync::watch;

/// Why a session is asked to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Oxpost is stopping.
    Stopping,
    /// The connection has not logged in, and its slot is needed for another one.
    Evicted,
}

impl CloseReason {
    /// The sentence for the client.
    pub fn text(self) -> &'static str {
        match self {
            Self::Stopping => "Oxpost is stopping; try again in a minute",
            Self::Evicted => "Too many connections; try again in a minute",
        }
    }
}

/// The end that a session listens to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CloseRequest(watch::Receiver<Option<CloseReason>>);

/// The end that asks. Dropping it asks for nothing.
#[derive(Debug)]
pub(crate) struct CloseHandle(watch::Sender<Option<CloseReason>>);

/// Both ends for one session.
pub(crate) fn close_request() -> (CloseHandle, CloseRequest) {
    let (handle, request) = watch::channel(None);
    (CloseHandle(handle), CloseRequest(request))
}

impl CloseRequest {
    /// One that is never made.
    pub fn never() -> Self {
        close_request().1
    }

    /// Why the session is asked to close, if it is.
    pub fn requested(&self) -> Option<CloseReason> {
        *self.0.borrow()
    }

    /// Waits until the session is asked to close; for ever, if it never is.
    pub async fn wait(&mut self) -> CloseReason {
        // What was waited for holds a lock, which must not be kept while the other arm waits.
        let requested = self.0.wait_for(Option::is_some).await.ok().and_then(|requested| *requested);
        match requested {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

impl CloseHandle {
    /// Asks the session to close. The first reason counts.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.0.send_if_modified(|requested| {
            let first = requested.is_none();
            *requested = requested.or(Some(reason));
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_when_to_try_again() {
        for (reason, why) in
            [(CloseReason::Stopping, "Oxpost is stopping"), (CloseReason::Evicted, "Too many connections")]
        {
            assert_eq!(reason.text(), format!("{why}; try again in a minute"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_reason_counts_and_dropping_the_handle_asks_nothing() {
        let (handle, mut request) = close_request();
        assert_eq!(request.requested(), None);
        handle.close(CloseReason::Evicted);
        handle.close(CloseReason::Stopping);
        assert_eq!((request.requested(), request.wait().await), (Some(CloseReason::Evicted), CloseReason::Evicted));

        let mut never = CloseRequest::never();
        let waited = tokio::time::timeout(std::time::Duration::from_secs(3600), never.wait()).await;
        assert!(waited.is_err(), "the request can no longer be made");
    }
}
