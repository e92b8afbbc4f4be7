//! The stage of every story: a tenant that signs people in, a mail server, a forwarder in front of each of its services, and
//! the real program between them and the client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{Forwarder, Oxpost, Problem, Running, Settings};
use oxpost_tests::office365::{Application, Tenant};

use crate::certificate;
use crate::dovecot::Dovecot;
use crate::message;

/// The person in every story.
pub const ALICE: &str = "alice@contoso.com";
/// A user with an account and, at Dovecot, without a mailbox.
pub const NOBODY_HOME: &str = "bob@contoso.com";

const CLIENT_ID: &str = "0c6b2f4e-0000-4000-8000-000000000001";

/// In addition to the plain listeners; their certificate is of the authority in listener-ca.pem.
const TLS_LISTENERS: &str = r#"
[[listener]]
protocol = "imap"
address = "127.0.0.1:0"
tls = "start-tls"
certificate = "listener.crt"
private-key = "listener.key"

[[listener]]
protocol = "imap"
address = "127.0.0.1:0"
tls = "implicit"
certificate = "listener.crt"
private-key = "listener.key"

[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
tls = "start-tls"
certificate = "listener.crt"
private-key = "listener.key"

[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
tls = "implicit"
certificate = "listener.crt"
private-key = "listener.key"

[[listener]]
protocol = "smtp"
address = "127.0.0.1:0"
tls = "start-tls"
certificate = "listener.crt"
private-key = "listener.key"

[[listener]]
protocol = "smtp"
address = "127.0.0.1:0"
tls = "implicit"
certificate = "listener.crt"
private-key = "listener.key"
"#;

/// How every JWT begins: `{"typ":"` in base64.
const START_OF_A_TOKEN: &str = "eyJ0eXAi";

/// So many of the last conversations are shown when a story fails.
const SHOWN_TRANSCRIPTS: usize = 3;

/// The mail servers that are played against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The real one.
    Dovecot,
    /// The simulated one.
    Exchange,
}

pub struct World {
    // In the order in which they end: first the one that uses the others.
    running: Option<Running>,
    pub oxpost: Oxpost,
    forwarders: Doors,
    dovecot: Option<Dovecot>,
    pub tenant: Tenant,
    pub password: String,
    /// How the client of the story has come: the protocol, and TLS if it began.
    pub ways: Ways,
}

/// The columns of the matrix that a story has to do with.
pub type Ways = Arc<Mutex<BTreeSet<String>>>;

struct Doors {
    imap: Forwarder,
    pop3: Forwarder,
    smtp: Forwarder,
}

impl World {
    /// Alice has an account, and is signed in; the program runs.
    pub async fn start(kind: Kind) -> Self {
        let mut world = Self::prepare(kind).await.unwrap();
        world.sign_in().await;
        world.run().await;
        world
    }

    /// Alice has an account; she is not signed in, and the program does not run.
    pub async fn prepare(kind: Kind) -> Result<Self, Problem> {
        let tenant = Tenant::builder()
            .mailbox(ALICE)
            .mailbox(NOBODY_HOME)
            .application(Application::public(CLIENT_ID))
            .behave(|behaviour| behaviour.entra.device_code_interval = Duration::from_secs(1))
            .start()
            .await
            .map_err(|error| Problem::new(error.to_string()))?;
        let dovecot = match kind {
            Kind::Dovecot => Some(Dovecot::start(&tenant.token_key(), &[ALICE]).await?),
            Kind::Exchange => None,
        };
        let forwarders = match &dovecot {
            Some(dovecot) => Doors::open([dovecot.imap(), dovecot.pop3(), dovecot.smtp()]).await?,
            None => Doors::open([tenant.imap(), tenant.pop3(), tenant.smtp()]).await?,
        };
        let through = |forwarder: &Forwarder| (forwarder.address().ip().to_string(), forwarder.address().port());
        let trusted = dovecot.as_ref().map(Dovecot::authority).unwrap_or_default();
        let settings = Settings {
            imap: through(&forwarders.imap),
            pop3: through(&forwarders.pop3),
            smtp: through(&forwarders.smtp),
            // Dovecot does not document it and limits the length of a command: a login succeeds all the same.
            smtp_initial_response: true,
            trusted: format!("{}{trusted}", tenant.ca_pem()),
            level: "trace".into(),
            more: TLS_LISTENERS.into(),
            ..Settings::of(&tenant, CLIENT_ID)
        };
        let oxpost = Oxpost::new(&settings)?;
        let certificate = certificate::issue();
        for (name, text) in [
            ("listener.crt", certificate.certificate),
            ("listener.key", certificate.key),
            ("listener-ca.pem", certificate.authority),
        ] {
            std::fs::write(oxpost.folder().join(name), text)?;
        }
        let password = oxpost.add_account(ALICE, &[]).await?;
        Ok(Self { running: None, oxpost, forwarders, dovecot, tenant, password, ways: Ways::default() })
    }

    /// Alice signs in.
    pub async fn sign_in(&self) {
        self.oxpost.sign_in(ALICE, &self.tenant, ALICE).await.unwrap();
    }

    /// Starts the program.
    pub async fn run(&mut self) {
        self.running = Some(self.oxpost.run().await.unwrap());
    }

    /// Stops the program as an administrator does. It must end in order, and its log, at its most talkative, must not
    /// tell a password, a token or anything of a message.
    pub async fn stop(mut self) {
        let running = self.running.take().expect("the story has started the program");
        let log = running.stop().await.unwrap();
        let encoded = STANDARD.encode(format!("\0{ALICE}\0{}", self.password));
        let secrets = [&self.password, &self.wrong_password(), &encoded, START_OF_A_TOKEN, message::SOME_WORDS];
        for secret in secrets {
            assert!(!log.contains(secret), "the log tells a secret, `{secret}`:\n{log}");
        }
    }

    /// The running program.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the story has started the program")
    }

    /// Notes for the matrix that the client of the story does this.
    pub fn note(&self, way: &str) {
        self.ways.lock().unwrap().insert(way.into());
    }

    pub fn imap(&self) -> SocketAddr {
        self.note("IMAP");
        self.running().imap
    }

    pub fn pop3(&self) -> SocketAddr {
        self.note("POP3");
        self.running().pop3
    }

    pub fn smtp(&self) -> SocketAddr {
        self.note("SMTP");
        self.running().smtp
    }

    /// Where it listens with this protocol (`"IMAP"`) and TLS (`"Implicit"`, `"StartTls"`).
    pub async fn with_tls(&self, protocol: &str, tls: &str) -> SocketAddr {
        self.note(&format!("{protocol}+{tls}"));
        let words = format!(r#""protocol":"{protocol}","tls":"{tls}""#);
        let line = self.running().wait_for_log(&words).await.unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    /// A password that Alice does not have.
    pub fn wrong_password(&self) -> String {
        self.password.chars().rev().collect()
    }

    /// How many connections have come to the mail server.
    pub fn arrivals(&self) -> usize {
        self.forwarders.imap.count() + self.forwarders.pop3.count() + self.forwarders.smtp.count()
    }

    /// The authority and the mail server refuse from now on what they have given to Alice and what she can renew with it.
    pub async fn revoke(&self) {
        self.tenant.revoke(ALICE);
        self.tenant.revoke_access_tokens(ALICE);
        if let Some(dovecot) = &self.dovecot {
            dovecot.refuse_tokens_of(Some(ALICE)).await;
        }
    }

    /// What Alice is given after a new sign-in is taken again.
    pub async fn forgive(&self) {
        if let Some(dovecot) = &self.dovecot {
            dovecot.refuse_tokens_of(None).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(running) = &self.running {
            eprintln!("oxpost's log:\n{}", running.log());
        }
        for transcript in self.tenant.transcripts().iter().rev().take(SHOWN_TRANSCRIPTS).rev() {
            eprintln!(
                "{:?} at the simulated Exchange, connection {}:\n{transcript}",
                transcript.protocol, transcript.connection
            );
        }
    }
}

impl Doors {
    async fn open([imap, pop3, smtp]: [SocketAddr; 3]) -> Result<Self, Problem> {
        Ok(Self {
            imap: Forwarder::open(imap).await?,
            pop3: Forwarder::open(pop3).await?,
            smtp: Forwarder::open(smtp).await?,
        })
    }
}
