//! What a tenant begins with, and how it starts.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::entra::{self, managed_identity};
use super::secrets::Secrets;
use super::tokens::{self, Tokens};
use super::{Application, Behaviour, Clock, Error, Mailbox, Shared, Tenant, bind, certificates, exchange};

/// A tenant to be set up. Everything can also be added later.
#[derive(Debug, Default)]
pub struct Builder {
    domain: Option<String>,
    behaviour: Behaviour,
    mailboxes: Vec<Mailbox>,
    applications: Vec<Application>,
}

impl Builder {
    /// The domain of the tenant instead of `contoso.com`.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.to_lowercase());
        self
    }

    /// Adds a mailbox: an address for a person's, or a [`Mailbox`].
    #[must_use]
    pub fn mailbox(mut self, mailbox: impl Into<Mailbox>) -> Self {
        self.mailboxes.push(mailbox.into());
        self
    }

    /// Adds an application.
    #[must_use]
    pub fn application(mut self, application: Application) -> Self {
        self.applications.push(application);
        self
    }

    /// Sets switches before the first connection.
    #[must_use]
    pub fn behave(mut self, change: impl FnOnce(&mut Behaviour)) -> Self {
        change(&mut self.behaviour);
        self
    }

    /// Opens the ports, chosen by the system, and serves them on the current tokio runtime.
    pub async fn start(self) -> Result<Tenant, Error> {
        let behaviour = Arc::new(Mutex::new(self.behaviour));
        let certificates = certificates::issue(Arc::clone(&behaviour))?;
        let (web, web_address) = bind().await?;
        let shared = Arc::new(Shared {
            id: tokens::guid()?,
            domain: self.domain.unwrap_or_else(|| "contoso.com".to_owned()),
            authority: format!("https://localhost:{}", web_address.port()),
            clock: Clock::default(),
            behaviour,
            tls: certificates.server,
            stop: CancellationToken::new(),
            directory: Mutex::default(),
            tokens: Mutex::new(Tokens::new()?),
            grants: Mutex::default(),
            lockouts: Mutex::default(),
            store: Mutex::default(),
            arc: Mutex::default(),
            sending: Mutex::default(),
            transcripts: Mutex::default(),
            token_requests: Mutex::default(),
            logins: Mutex::default(),
            outgoing: Mutex::default(),
            secrets: Secrets::default(),
            held: watch::Sender::new(0),
            released: watch::Sender::new(()),
        });
        entra::serve(web, &shared);
        let (metadata, instance_metadata) = bind().await?;
        managed_identity::serve(metadata, &shared);
        let ports = exchange::serve(&shared).await?;
        let tenant = Tenant { shared, ports, instance_metadata, ca_pem: certificates.ca_pem };
        for mailbox in self.mailboxes {
            tenant.add_mailbox(mailbox);
        }
        for application in self.applications {
            tenant.add_application(application);
        }
        Ok(tenant)
    }
}
