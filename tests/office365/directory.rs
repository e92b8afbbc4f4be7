//! The people, mailboxes and applications of the tenant, as its administrator set them up.

use std::collections::{HashMap, HashSet};

/// A mailbox and the account that owns it.
#[derive(Debug, Clone)]
pub struct Mailbox {
    pub(super) address: String,
    /// What the address was when it was made: the object id never changes.
    pub(super) object: String,
    /// Other addresses of the mailbox: those that it had before.
    pub(super) aliases: HashSet<String>,
    pub(super) password: String,
    pub(super) shared: bool,
    pub(super) enabled: bool,
    pub(super) imap: bool,
    pub(super) pop3: bool,
    pub(super) smtp_auth: Option<bool>,
    pub(super) has_mailbox: bool,
    pub(super) full_access: HashSet<String>,
    pub(super) send_as: HashSet<String>,
}

impl From<&str> for Mailbox {
    fn from(address: &str) -> Self {
        Self::user(address)
    }
}

impl Mailbox {
    /// A person with a mailbox; the password, for the password grant, is `Passw0rd!`.
    pub fn user(address: &str) -> Self {
        Self {
            address: address.to_lowercase(),
            object: address.to_lowercase(),
            aliases: HashSet::new(),
            password: "Passw0rd!".to_owned(),
            shared: false,
            enabled: true,
            imap: true,
            pop3: true,
            smtp_auth: None,
            has_mailbox: true,
            full_access: HashSet::new(),
            send_as: HashSet::new(),
        }
    }

    /// A shared mailbox: no user can sign in as it.
    pub fn shared(address: &str) -> Self {
        Self { shared: true, ..Self::user(address) }
    }

    /// The password of the account.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// Gives FullAccess to a user (by address) or to an application (by client id).
    #[must_use]
    pub fn full_access(mut self, who: &str) -> Self {
        self.full_access.insert(who.to_lowercase());
        self
    }

    /// Gives SendAs to a user (by address) or to an application (by client id).
    #[must_use]
    pub fn send_as(mut self, who: &str) -> Self {
        self.send_as.insert(who.to_lowercase());
        self
    }

    /// `Set-CASMailbox -SmtpClientAuthenticationDisabled`, the other way round; unset, the tenant's setting counts.
    #[must_use]
    pub fn smtp_auth(mut self, enabled: bool) -> Self {
        self.smtp_auth = Some(enabled);
        self
    }

    /// `Set-CASMailbox -ImapEnabled`.
    #[must_use]
    pub fn imap(mut self, enabled: bool) -> Self {
        self.imap = enabled;
        self
    }

    /// `Set-CASMailbox -PopEnabled`.
    #[must_use]
    pub fn pop3(mut self, enabled: bool) -> Self {
        self.pop3 = enabled;
        self
    }

    /// The account may sign in.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The account exists, but has no mailbox (no licence).
    #[must_use]
    pub fn without_mailbox(mut self) -> Self {
        self.has_mailbox = false;
        self
    }
}

/// The scopes that mail applications ask for on behalf of a user.
const MAIL_SCOPES: [&str; 3] = ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send"];
/// The app roles for access without a user.
const MAIL_ROLES: [&str; 3] = ["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"];

/// An app registration together with its enterprise application in this tenant.
#[derive(Debug, Clone)]
pub struct Application {
    pub(super) client_id: String,
    pub(super) public: bool,
    pub(super) secrets: Vec<(String, bool)>,
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) federated: Vec<(String, String)>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) admin_consent: bool,
    pub(super) consents: HashSet<String>,
    pub(super) enabled: bool,
    pub(super) multi_tenant: bool,
    pub(super) registered_in_exchange: bool,
    pub(super) managed: bool,
}

impl Application {
    /// A "mobile and desktop" application without a secret; it has the delegated mail permissions, an administrator's
    /// consent, and the redirect URI `http://localhost`.
    pub fn public(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_lowercase(),
            public: true,
            secrets: Vec::new(),
            certificates: Vec::new(),
            federated: Vec::new(),
            redirect_uris: vec!["http://localhost".to_owned()],
            scopes: MAIL_SCOPES.map(str::to_owned).to_vec(),
            roles: Vec::new(),
            admin_consent: true,
            consents: HashSet::new(),
            enabled: true,
            multi_tenant: false,
            registered_in_exchange: true,
            managed: false,
        }
    }

    /// An application with a client secret; it also has the app-only mail permissions, and Exchange knows its service
    /// principal.
    pub fn confidential(client_id: &str, secret: &str) -> Self {
        Self {
            public: false,
            secrets: vec![(secret.to_owned(), true)],
            roles: MAIL_ROLES.map(str::to_owned).to_vec(),
            ..Self::public(client_id)
        }
    }

    /// The managed identity of the machine: it asks the instance metadata service, and proves nothing.
    pub fn managed_identity(client_id: &str) -> Self {
        Self { secrets: Vec::new(), managed: true, ..Self::confidential(client_id, "") }
    }

    /// Registers a certificate (DER) for signed client assertions. Without any, an assertion is only read.
    #[must_use]
    pub fn certificate(mut self, der: &[u8]) -> Self {
        self.certificates.push(der.to_vec());
        self.public = false;
        self
    }

    /// Adds a federated credential: statements of this issuer about this subject are taken for the application's own.
    #[must_use]
    pub fn federated(mut self, issuer: &str, subject: &str) -> Self {
        self.federated.push((issuer.to_owned(), subject.to_owned()));
        self.public = false;
        self
    }

    /// Adds a client secret that has expired.
    #[must_use]
    pub fn expired_secret(mut self, secret: &str) -> Self {
        self.secrets.push((secret.to_owned(), false));
        self.public = false;
        self
    }

    /// Adds a redirect URI.
    #[must_use]
    pub fn redirect_uri(mut self, uri: &str) -> Self {
        self.redirect_uris.push(uri.to_owned());
        self
    }

    /// Replaces the delegated permissions of the registration on Exchange Online.
    #[must_use]
    pub fn delegated(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(ToString::to_string).collect();
        self
    }

    /// Replaces the app-only permissions that an administrator consented to.
    #[must_use]
    pub fn app_roles(mut self, roles: &[&str]) -> Self {
        self.roles = roles.iter().map(ToString::to_string).collect();
        self
    }

    /// No administrator has consented: each user has to, by signing in.
    #[must_use]
    pub fn without_consent(mut self) -> Self {
        self.admin_consent = false;
        self
    }

    /// The enterprise application may be used.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The application may be used through `/common` and `/organizations`.
    #[must_use]
    pub fn multi_tenant(mut self) -> Self {
        self.multi_tenant = true;
        self
    }

    /// `New-ServicePrincipal` was not run (or with the wrong object id): Exchange does not know the application.
    #[must_use]
    pub fn unknown_to_exchange(mut self) -> Self {
        self.registered_in_exchange = false;
        self
    }

    pub(super) fn consented(&self, user: &str) -> bool {
        self.admin_consent || self.consents.contains(user)
    }

    /// Matches as Entra does: for localhost the port is ignored, the path is compared with its case.
    pub(super) fn allows_redirect(&self, wanted: &str) -> bool {
        let Ok(wanted_url) = url::Url::parse(wanted) else { return false };
        self.redirect_uris.iter().any(|registered| {
            let Ok(mut registered_url) = url::Url::parse(registered) else { return false };
            let loopback = registered_url.scheme() == "http" && registered_url.host_str() == Some("localhost");
            if loopback && registered_url.set_port(wanted_url.port()).is_err() {
                return false;
            }
            registered_url == wanted_url
        })
    }
}

/// All of them. Addresses and client ids are kept in lower case.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) mailboxes: HashMap<String, Mailbox>,
    pub(super) applications: HashMap<String, Application>,
}

impl Directory {
    pub(super) fn mailbox(&self, address: &str) -> Option<&Mailbox> {
        self.mailboxes.get(&address.to_lowercase())
    }

    /// The mailbox that has this address, now or before.
    pub(super) fn mailbox_or_alias(&self, address: &str) -> Option<&Mailbox> {
        let address = address.to_lowercase();
        let by_alias = || self.mailboxes.values().find(|mailbox| mailbox.aliases.contains(&address));
        self.mailboxes.get(&address).or_else(by_alias)
    }

    /// The present address of the user who had this one when a token was issued for this object id.
    pub(super) fn present_name(&self, object_id: &str, name: &str) -> Option<String> {
        let is_theirs = |mailbox: &&Mailbox| super::tokens::object_id(&mailbox.object) == object_id;
        if self.mailbox(name).as_ref().is_some_and(is_theirs) {
            return Some(name.to_lowercase());
        }
        self.mailboxes.values().find(is_theirs).map(|mailbox| mailbox.address.clone())
    }

    /// Renames a user. `false`: there is none, or the new address is taken.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let (from, to) = (from.to_lowercase(), to.to_lowercase());
        if self.mailbox_or_alias(&to).is_some_and(|mailbox| mailbox.address != from) {
            return false;
        }
        let Some(mut mailbox) = self.mailboxes.remove(&from) else { return false };
        mailbox.aliases.insert(from.clone());
        mailbox.aliases.remove(&to);
        mailbox.address.clone_from(&to);
        self.mailboxes.insert(to.clone(), mailbox);
        let swap = |set: &mut HashSet<String>| {
            if set.remove(&from) {
                set.insert(to.clone());
            }
        };
        for mailbox in self.mailboxes.values_mut() {
            swap(&mut mailbox.full_access);
            swap(&mut mailbox.send_as);
        }
        self.applications.values_mut().for_each(|application| swap(&mut application.consents));
        true
    }

    pub(super) fn application(&self, client_id: &str) -> Option<&Application> {
        self.applications.get(&client_id.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_redirect_matches_at_any_port_and_only_at_its_path() {
        let application = Application::public("a").redirect_uri("http://localhost/callback");
        assert!(application.allows_redirect("http://localhost:49152"));
        assert!(application.allows_redirect("http://localhost:49152/"));
        assert!(application.allows_redirect("http://localhost:1/callback"));
        assert!(!application.allows_redirect("http://localhost:1/Callback"));
        assert!(!application.allows_redirect("http://127.0.0.1:1/callback"));
        assert!(!application.allows_redirect("https://localhost/"));
        assert!(!application.allows_redirect("nonsense"));
    }
}
