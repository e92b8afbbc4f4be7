//! A simulated Microsoft 365 tenant: Entra ID as far as mail needs it, and Exchange Online's IMAP, POP3 and SMTP
//! submission, all on 127.0.0.1 with a certificate authority of its own. It shares no code with Oxpost, so that a
//! misunderstanding of ours is not repeated here. `README.md` next to this file lists what it does.
//!
//! ```no_run
//! # async fn story() -> Result<(), oxpost_tests::office365::Error> {
//! use oxpost_tests::office365::{Application, Tenant};
//! let tenant = Tenant::builder().mailbox("alice@contoso.com").start().await?;
//! tenant.add_application(Application::public("0c6b2f4e-0000-4000-8000-000000000001"));
//! let refresh_token = tenant.grant_refresh_token("0c6b2f4e-0000-4000-8000-000000000001", "alice@contoso.com")?;
//! # Ok(()) }
//! ```

pub mod behaviour;
mod builder;
mod certificates;
#[cfg(test)]
mod checks;
mod clock;
mod directory;
mod entra;
mod error;
mod exchange;
mod mailbox;
mod records;
mod secrets;
mod tokens;
mod transcript;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use behaviour::Behaviour;
pub use builder::Builder;
pub use clock::Clock;
pub use directory::{Application, Mailbox};
pub use error::Error;
pub use records::{Login, LoginOutcome, Outcome, Outgoing, TokenRequest};
pub use secrets::SecretKind;
pub use tokens::{Refusal, TokenKey};
pub use transcript::{Direction, Protocol, Transcript};

use directory::Directory;
use entra::managed_identity::ArcAgent;
use entra::{Grants, Lockouts};
use exchange::Sending;
use mailbox::Store;
use secrets::Secrets;
use tokens::Tokens;
use transcript::Transcripts;

/// The address that a listener was given by the system.
async fn bind() -> io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A running tenant. It stops when this is dropped.
pub struct Tenant {
    shared: Arc<Shared>,
    ports: exchange::Ports,
    instance_metadata: SocketAddr,
    ca_pem: String,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tenant").field("authority", &self.shared.authority).field("ports", &self.ports).finish()
    }
}

impl Tenant {
    /// A tenant to be set up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// IMAP with TLS from the first byte (as port 993).
    pub fn imap(&self) -> SocketAddr {
        self.ports.imap
    }

    /// IMAP that offers STARTTLS (as port 143).
    pub fn imap_plain(&self) -> SocketAddr {
        self.ports.imap_plain
    }

    /// POP3 with TLS from the first byte (as port 995).
    pub fn pop3(&self) -> SocketAddr {
        self.ports.pop3
    }

    /// POP3 that offers STLS (as port 110).
    pub fn pop3_plain(&self) -> SocketAddr {
        self.ports.pop3_plain
    }

    /// SMTP submission with STARTTLS (as port 587).
    pub fn smtp(&self) -> SocketAddr {
        self.ports.smtp
    }

    /// The same with TLS from the first byte (as port 465). Exchange Online has no such port; it is for measuring proxies that cannot
    /// begin STARTTLS.
    pub fn smtp_tls(&self) -> SocketAddr {
        self.ports.smtp_tls
    }

    /// The sign-in service: `https://localhost:PORT`.
    pub fn authority(&self) -> String {
        self.shared.authority.clone()
    }

    /// The instance metadata service (plain HTTP, as 169.254.169.254:80), for [`Application::managed_identity`].
    pub fn instance_metadata(&self) -> SocketAddr {
        self.instance_metadata
    }

    /// Makes the same address answer as Azure Arc's agent too, which writes its key files into this directory.
    pub fn join_arc(&self, directory: &std::path::Path) {
        lock(&self.shared.arc).directory = Some(directory.to_owned());
    }

    /// The certificate of the authority that signed those of the services. They are valid for localhost, 127.0.0.1,
    /// outlook.office365.com, smtp.office365.com and login.microsoftonline.com.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The tenant's id, a GUID.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The tenant's domain.
    pub fn domain(&self) -> &str {
        &self.shared.domain
    }

    /// The tenant's clock.
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// Changes how the tenant behaves, from now on.
    pub fn behave<T>(&self, change: impl FnOnce(&mut Behaviour) -> T) -> T {
        change(&mut lock(&self.shared.behaviour))
    }

    /// Adds a mailbox, or replaces its settings: an address for a person's, or a [`Mailbox`].
    pub fn add_mailbox(&self, mailbox: impl Into<Mailbox>) {
        let mailbox = mailbox.into();
        if mailbox.has_mailbox {
            lock(&self.shared.store).open(&mailbox.address);
        }
        lock(&self.shared.directory).mailboxes.insert(mailbox.address.clone(), mailbox);
    }

    /// Changes the settings of a mailbox; false if there is none.
    pub fn change_mailbox(&self, address: &str, change: impl FnOnce(Mailbox) -> Mailbox) -> bool {
        let mut directory = lock(&self.shared.directory);
        let Some(mailbox) = directory.mailbox(address).cloned() else { return false };
        let changed = change(mailbox);
        directory.mailboxes.insert(changed.address.clone(), changed);
        true
    }

    /// Renames a user (UPN and primary address), who keeps the object id, the sign-ins, the messages, and the old address as another
    /// one of the mailbox. `false`: there is none, or the new address is taken.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        if !lock(&self.shared.directory).rename(from, to) {
            return false;
        }
        lock(&self.shared.grants).rename(from, to);
        lock(&self.shared.store).rename(from, to);
        true
    }

    /// Adds an application, or replaces its registration.
    pub fn add_application(&self, application: Application) {
        lock(&self.shared.directory).applications.insert(application.client_id.clone(), application);
    }

    /// Takes an application out of the tenant.
    pub fn remove_application(&self, client_id: &str) {
        lock(&self.shared.directory).applications.remove(&client_id.to_lowercase());
    }

    /// Gives a user's consent to an application.
    pub fn consent(&self, client_id: &str, user: &str) {
        if let Some(application) = lock(&self.shared.directory).applications.get_mut(&client_id.to_lowercase()) {
            application.consents.insert(user.to_lowercase());
        }
    }

    /// Withdraws all consent to an application, the administrator's too.
    pub fn withdraw_consent(&self, client_id: &str) {
        if let Some(application) = lock(&self.shared.directory).applications.get_mut(&client_id.to_lowercase()) {
            application.admin_consent = false;
            application.consents.clear();
        }
    }

    /// The user codes that wait for a person.
    pub fn pending_device_codes(&self) -> Vec<String> {
        lock(&self.shared.grants).pending(self.shared.clock.now())
    }

    /// Signs a user in on the page for device codes. False if no such code waits.
    pub fn approve_device_code(&self, user_code: &str, user: &str) -> bool {
        self.shared.decide_device_code(user_code, Some(user))
    }

    /// Refuses on the page for device codes. False if no such code waits.
    pub fn decline_device_code(&self, user_code: &str) -> bool {
        self.shared.decide_device_code(user_code, None)
    }

    /// A refresh token as a sign-in would have given it.
    pub fn grant_refresh_token(&self, client_id: &str, user: &str) -> Result<String, Error> {
        let token = format!("1.A{}", tokens::random_text(300)?);
        self.shared.secrets.add(SecretKind::RefreshToken, &token);
        lock(&self.shared.grants).add_refresh_token(token.clone(), client_id, user, self.shared.clock.now());
        Ok(token)
    }

    /// Revokes the refresh tokens of a user (AADSTS50173). Access tokens live on until they expire.
    pub fn revoke(&self, user: &str) {
        lock(&self.shared.grants).revoke(user);
    }

    /// Whether a user is locked out after too many wrong passwords (AADSTS50053).
    pub fn is_locked_out(&self, user: &str) -> bool {
        lock(&self.shared.lockouts).is_locked(&user.to_lowercase(), self.shared.clock.now())
    }

    /// How many wrong passwords count against a user since the last right one.
    pub fn wrong_passwords(&self, user: &str) -> usize {
        lock(&self.shared.lockouts).wrong(&user.to_lowercase())
    }

    /// A user's new password, as an administrator sets it or the user does: refresh tokens end with the old one.
    pub fn change_password(&self, user: &str, password: &str) {
        self.change_mailbox(user, |mailbox| mailbox.password(password));
        self.revoke(user);
    }

    /// Makes the access tokens of a user (by address) or of an application's own (by client id) useless at Exchange.
    pub fn revoke_access_tokens(&self, holder: &str) {
        lock(&self.shared.tokens).revoke(holder);
    }

    /// The key to the tenant's access tokens, for a real mail server that is to take them.
    pub fn token_key(&self) -> TokenKey {
        lock(&self.shared.tokens).key(tokens::issuer(&self.shared.id))
    }

    /// Lets go of everything that `Hang`, `Hold` or `Silence` holds at this moment.
    pub fn release(&self) {
        self.shared.released.send_replace(());
    }

    /// Waits until at least so many requests and connections are held.
    ///
    /// # Panics
    /// They are not for a long time.
    pub async fn wait_until_held(&self, count: usize) {
        let mut held = self.shared.held.subscribe();
        let waiting = tokio::time::timeout(Duration::from_secs(60), held.wait_for(|held| *held >= count)).await;
        assert!(waiting.is_ok(), "fewer than {count} requests and connections are held");
    }

    /// Every request that the token endpoint received, in order.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        lock(&self.shared.token_requests).clone()
    }

    /// Every attempt to log in to a mail service, in order.
    pub fn logins(&self) -> Vec<Login> {
        lock(&self.shared.logins).clone()
    }

    /// The successful logins by one protocol.
    pub fn accepted_logins(&self, protocol: Protocol) -> usize {
        let accepted = |login: &&Login| login.protocol == protocol && login.outcome == LoginOutcome::Accepted;
        lock(&self.shared.logins).iter().filter(accepted).count()
    }

    /// Every secret it has issued or was sent since it started, accepted or not.
    pub fn secrets(&self) -> Vec<(SecretKind, String)> {
        self.shared.secrets.all()
    }

    /// The messages in a folder, in order.
    pub fn messages(&self, address: &str, folder: &str) -> Vec<Vec<u8>> {
        let mut store = lock(&self.shared.store);
        let folder = store.folder(address, folder);
        folder.map(|folder| folder.messages.iter().map(|message| message.bytes.to_vec()).collect()).unwrap_or_default()
    }

    /// Puts a message into the INBOX of a mailbox, as it is.
    pub fn deliver(&self, address: &str, message: impl Into<Vec<u8>>) {
        self.deliver_to(address, "INBOX", message);
    }

    /// Puts a message into any folder of a mailbox, as it is.
    pub fn deliver_to(&self, address: &str, folder: &str, message: impl Into<Vec<u8>>) {
        let bytes: Arc<[u8]> = Arc::from(message.into());
        lock(&self.shared.store).deliver(address, folder, &bytes, self.shared.clock.now());
    }

    /// Gives a folder a new UIDVALIDITY, as the move of a mailbox may.
    pub fn change_uid_validity(&self, address: &str, folder: &str) {
        lock(&self.shared.store).renumber(address, folder);
    }

    /// The messages that left the tenant.
    pub fn outgoing(&self) -> Vec<Outgoing> {
        lock(&self.shared.outgoing).clone()
    }

    /// What was said on each mail connection, in order.
    pub fn transcripts(&self) -> Vec<Transcript> {
        lock(&self.shared.transcripts).all()
    }

    /// Forgets all transcripts, logins and token requests.
    pub fn forget(&self) {
        lock(&self.shared.transcripts).forget();
        lock(&self.shared.logins).clear();
        lock(&self.shared.token_requests).clear();
    }
}

/// What all services of a tenant share.
struct Shared {
    id: String,
    domain: String,
    authority: String,
    clock: Clock,
    behaviour: Arc<Mutex<Behaviour>>,
    tls: Arc<ServerConfig>,
    stop: CancellationToken,
    directory: Mutex<Directory>,
    tokens: Mutex<Tokens>,
    grants: Mutex<Grants>,
    lockouts: Mutex<Lockouts>,
    store: Mutex<Store>,
    arc: Mutex<ArcAgent>,
    sending: Mutex<HashMap<String, Sending>>,
    transcripts: Mutex<Transcripts>,
    token_requests: Mutex<Vec<TokenRequest>>,
    logins: Mutex<Vec<Login>>,
    outgoing: Mutex<Vec<Outgoing>>,
    secrets: Secrets,
    held: watch::Sender<usize>,
    released: watch::Sender<()>,
}

impl Shared {
    fn authority(&self) -> &str {
        &self.authority
    }

    fn behaviour<T>(&self, read: impl FnOnce(&Behaviour) -> T) -> T {
        read(&lock(&self.behaviour))
    }

    fn behaviour_mut<T>(&self, change: impl FnOnce(&mut Behaviour) -> T) -> T {
        change(&mut lock(&self.behaviour))
    }

    /// The people who can sign in, in alphabetical order.
    fn accounts(&self) -> Vec<String> {
        let directory = lock(&self.directory);
        let people = directory.mailboxes.values().filter(|mailbox| !mailbox.shared);
        let mut people: Vec<String> = people.map(|mailbox| mailbox.address.clone()).collect();
        people.sort();
        people
    }

    fn decide_device_code(&self, user_code: &str, user: Option<&str>) -> bool {
        lock(&self.grants).decide(user_code, user, self.clock.now())
    }

    /// Waits until a test lets go, or the tenant stops.
    async fn hold(&self) {
        let mut released = self.released.subscribe();
        let _counted = Held::count(&self.held);
        tokio::select! {
            _ = released.changed() => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// One that waits; it is counted until it is dropped, also if its client went away.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn count(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|count| *count += 1);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// A panic in one connection must not stop the tenant for the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
