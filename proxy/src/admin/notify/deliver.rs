//! Delivers a message by every channel, with a few more attempts where one fails.

use std::fmt;
use std::time::Duration;

use rustls::ClientConfig;

use super::message::Message;
use super::webhook::{self, Webhook};
use crate::config::Notify;
use crate::config::NotifyCommand as Command;

/// The pauses before the further tries. With [`super::webhook::TIME`] and [`super::command::TIME`] for each, a message takes
/// less than four minutes.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// Why a message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The reason, for the log. Nothing secret.
    pub why: String,
    /// Whether another try may help.
    pub try_again: bool,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// The channels of `[notify]`.
#[derive(Debug)]
pub(crate) struct Channels {
    webhook: Option<Webhook>,
    command: Option<Command>,
    pauses: Vec<Duration>,
}

/// How one of them took it.
pub(crate) type Report = (&'static str, Result<(), Undelivered>);

impl Channels {
    /// Those of the configuration. `tls` has the trusted roots.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(crate) fn new(notify: &Notify, tls: &ClientConfig) -> Result<Self, String> {
        let webhook = notify.webhook.as_ref().map(|one| Webhook::new(one, tls.clone(), webhook::TIME)).transpose()?;
        Ok(Self { webhook, command: notify.command.clone(), pauses: PAUSES.to_vec() })
    }

    /// With these pauses before further attempts, for a start that has failed and for tests.
    #[must_use]
    pub(crate) fn with_pauses(self, pauses: &[Duration]) -> Self {
        Self { pauses: pauses.to_vec(), ..self }
    }

    /// What the command writes to standard error is shown there, and not thrown away.
    #[must_use]
    pub(crate) fn heard(self) -> Self {
        Self { command: self.command.map(Command::heard), ..self }
    }

    /// Whether there is no channel; the log is written all the same.
    pub(crate) fn is_empty(&self) -> bool {
        self.webhook.is_none() && self.command.is_none()
    }

    /// Tells them all, at the same time, each as often as is needed and allowed.
    pub(crate) async fn deliver(&self, message: &Message) -> Vec<Report> {
        let webhook = async {
            match &self.webhook {
                Some(webhook) => Some(("webhook", self.persist(|| webhook.send(message)).await)),
                None => None,
            }
        };
        let command = async {
            match &self.command {
                Some(command) => Some(("command", self.persist(|| command.run(message)).await)),
                None => None,
            }
        };
        let (webhook, command) = tokio::join!(webhook, command);
        webhook.into_iter().chain(command).collect()
    }

    async fn persist<F: Future<Output = Result<(), Undelivered>>>(
        &self,
        mut tell: impl FnMut() -> F,
    ) -> Result<(), Undelivered> {
        let mut outcome = tell().await;
        for pause in &self.pauses {
            if outcome.as_ref().err().is_none_or(|error| !error.try_again) {
                break;
            }
            tokio::time::sleep(*pause).await;
            outcome = tell().await;
        }
        outcome
    }
}
