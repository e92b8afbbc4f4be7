//! Hints that another process may have written. They only save time: the tables are authoritative, and a listener that receives
//! no hint reads them after a while anyway.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use tokio::sync::broadcast::{self, error::RecvError};

/// Hints that are kept for a busy listener. A listener that missed some must read everything.
pub(super) const KEPT: usize = 256;

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The tokens of one mailbox, by its [`name_of`].
    Tokens(String),
    /// The sending limits of one mailbox at one server, by the [`name_of`] both.
    Limit(String),
    /// Anything: hints were missed.
    Anything,
}

/// A mailbox as hints call it: everybody who may connect to the database can hear them, and need not read addresses there.
/// The trigger in `postgres/session.rs` does the same.
fn name_of(mailbox: &str) -> String {
    let digest = digest::digest(&digest::SHA256, mailbox.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// In front of the name of a hint about sending limits.
const LIMIT: &str = "limit:";

impl Hint {
    /// What a trigger has said.
    pub(super) fn said(payload: &str) -> Self {
        match payload.strip_prefix(LIMIT) {
            Some(name) => Self::Limit(name.to_owned()),
            None => Self::Tokens(payload.to_owned()),
        }
    }
}

/// What is heard from an engine; of one that gives no hints nothing ever is.
#[derive(Debug)]
pub struct Hints(Option<broadcast::Receiver<Hint>>);

impl Hints {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(hints: &broadcast::Sender<Hint>) -> Self {
        Self(Some(hints.subscribe()))
    }

    /// Forgets what was heard so far. To be called before the tables are read, so that no hint is missed that comes after.
    pub fn catch_up(&mut self) {
        if let Some(hints) = &mut self.0 {
            *hints = hints.resubscribe();
        }
    }

    /// Until there is any hint about tokens.
    pub(crate) async fn any(&mut self) {
        while let Hint::Limit(_) = self.next().await {}
    }

    /// Until there is a hint about the sending limits of this mailbox at this server.
    pub async fn about_limit(&mut self, server: &str, mailbox: &str) {
        let name = name_of(&format!("{server} {mailbox}"));
        loop {
            match self.next().await {
                Hint::Anything => return,
                Hint::Limit(other) if other == name => return,
                Hint::Limit(_) | Hint::Tokens(_) => {}
            }
        }
    }

    /// Until there is a hint about the tokens of this mailbox.
    pub(crate) async fn about(&mut self, mailbox: &str) {
        let name = name_of(mailbox);
        loop {
            match self.next().await {
                Hint::Anything => return,
                Hint::Tokens(other) if other == name => return,
                Hint::Tokens(_) | Hint::Limit(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Hint {
        let Some(hints) = &mut self.0 else { return std::future::pending().await };
        match hints.recv().await {
            Ok(hint) => hint,
            Err(RecvError::Lagged(_)) => Hint::Anything,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    #[tokio::test]
    async fn listener_hears_its_hints_and_knows_what_it_missed() {
        let (sender, _) = broadcast::channel(2);
        let mut hints = Hints::of(&sender);
        let say = |mailbox: &str| sender.send(Hint::Tokens(name_of(mailbox))).unwrap();
        say("ann@contoso.com");
        hints.catch_up();
        say("ben@contoso.com");
        say("ann@contoso.com");
        hints.about("ann@contoso.com").await;
        for _ in 0..4 {
            say("ben@contoso.com");
        }
        hints.about("ann@contoso.com").await;
        sender.send(Hint::Anything).unwrap();
        hints.catch_up();
        sender.send(Hint::Anything).unwrap();
        hints.about("ann@contoso.com").await;
        say("ben@contoso.com");
        hints.any().await;
        let mut silent_engine = Hints::none();
        let silent = async { tokio::join!(hints.any(), silent_engine.about("ann@contoso.com")) };
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), silent).await.is_err());
    }

    #[tokio::test]
    async fn hints_about_limits_and_about_tokens_are_kept_apart() {
        let (sender, _) = broadcast::channel(4);
        let mut hints = Hints::of(&sender);
        let say = |hint| sender.send(hint).unwrap();
        let limit = Hint::said(&format!("{LIMIT}{}", name_of("smtp.example ann@contoso.com")));
        say(Hint::said(&name_of("ann@contoso.com")));
        say(limit.clone());
        hints.about_limit("smtp.example", "ann@contoso.com").await;
        // It wakes neither the refresher nor a login that waits for a token.
        say(limit);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), hints.any()).await.is_err());
        say(Hint::Anything);
        hints.about_limit("smtp.example", "ann@contoso.com").await;
    }

    #[test]
    fn a_name_tells_no_address() {
        assert_eq!(name_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
