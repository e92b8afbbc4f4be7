//! `[name@contoso.com]`: an account, with what it inherits from its domain.

use std::collections::HashMap;
use std::path::Path;

use oxpost_protocol::Secret;
use oxpost_token_store::{Grant, Mailbox};
use url::Url;

use super::provider::{provider, redirect};
use super::servers::Found as Servers;
use super::{Section, name_of, shown, unknown};
use crate::admin::import::fernet::Lock;
use crate::admin::import::ini::Entry;
use crate::admin::import::service::{Family, is_plain};
use crate::admin::import::{Account, Application, Plan, Provider, Sealed};

/// Part of the values of the example that comes with the program.
const EXAMPLE: &str = "*** your";

/// Keys whose values are one word.
const ONE_LINE: [&str; 5] = ["permission_url", "token_url", "oauth2_flow", "redirect_uri", "client_id"];

const KNOWN: [&str; 22] = [
    "documentation",
    "permission_url",
    "token_url",
    "oauth2_scope",
    "oauth2_resource",
    "oauth2_flow",
    "redirect_uri",
    "redirect_listen_address",
    "client_id",
    "client_secret",
    "client_secret_encrypted",
    "use_pkce",
    "jwt_certificate_path",
    "jwt_key_path",
    "token_salt",
    "token_iterations",
    "access_token",
    "access_token_expiry",
    "refresh_token",
    "last_activity",
    "warning",
    "format",
];

/// An account's section, with those it inherits from.
pub(super) struct Found<'a> {
    section: &'a Section,
    inherits: [Option<&'a Section>; 2],
    /// The password that a mail program sends is the client secret.
    password_is_secret: bool,
}

impl<'a> Found<'a> {
    pub(super) fn new(section: &'a Section, sections: &'a [Section], catch_all: bool) -> Self {
        let domain = section.name.rsplit_once('@').map(|(_, domain)| format!("@{domain}")).unwrap_or_default();
        let named = |name: &str| sections.iter().find(|section| catch_all && section.name == name);
        let options = sections.iter().find(|section| section.name == super::OPTIONS);
        let password_is_secret =
            options.is_some_and(|options| options.is_on("use_login_password_as_client_credentials_secret"));
        Self { section, inherits: [named(&domain), named("@")], password_is_secret }
    }

    /// The entry of a key: the account's own, its domain's, or everybody's.
    fn entry(&self, key: &str) -> Option<&'a Entry> {
        let sections = std::iter::once(self.section).chain(self.inherits.into_iter().flatten());
        sections.into_iter().find_map(|section| section.entry(key))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    /// The client secret, if it is there unencrypted. One that is the account's own, sealed or not, is preferred to that of
    /// its domain, which is most often for another application.
    fn secret(&self) -> Option<&'a str> {
        let own = |key: &str| self.section.get(key);
        let others = own("client_id").is_some() && own("client_secret_encrypted").is_some();
        let secret = own("client_secret").or_else(|| self.get("client_secret").filter(|_| !others));
        secret.filter(|secret| !secret.contains(EXAMPLE))
    }

    pub(super) fn line(&self, key: &str) -> usize {
        self.entry(key).map_or(self.section.line, |entry| entry.line)
    }

    pub(super) fn name(&self) -> String {
        name_of(self.section)
    }
}

/// Which service an account is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Known(Family),
    /// By the host of its token endpoint.
    Other(String),
}

/// What an account cannot be without.
pub(super) struct Wanted<'a> {
    pub(super) found: &'a Found<'a>,
    mailbox: Mailbox,
    pub(super) grant: Grant,
    client_id: &'a str,
    pub(super) token_url: Url,
    /// The host of its token endpoint.
    pub(super) authority: String,
    pub(super) key: Key,
}

impl Wanted<'_> {
    pub(super) fn domain(&self) -> &str {
        self.mailbox.as_str().rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Reads what the accounts cannot be without, and leaves those that lack something of it.
pub(super) fn wanted<'a>(plan: &mut Plan, accounts: &'a [Found<'a>]) -> Vec<Wanted<'a>> {
    let mut lines: HashMap<Mailbox, usize> = HashMap::new();
    let mut wanted = Vec::new();
    for found in accounts {
        unknown(plan, found.section, &KNOWN);
        match essentials(found) {
            Err((line, why)) => plan.leave(line, found.name(), why),
            Ok(one) => match lines.get(&one.mailbox) {
                Some(first) => {
                    let why = format!("capital letters aside it is the account of line {first}; one of them is enough");
                    plan.leave(found.section.line, found.name(), why);
                }
                None => {
                    lines.insert(one.mailbox.clone(), found.section.line);
                    wanted.push(one);
                }
            },
        }
    }
    wanted
}

/// The line and the reason why an account cannot be carried over.
pub(super) type Why = (usize, String);

fn essentials<'a>(found: &'a Found<'a>) -> Result<Wanted<'a>, Why> {
    let section = found.section;
    let mailbox = Mailbox::parse(&section.name).map_err(|error| (section.line, error.to_string()))?;
    let token_url = found.get("token_url").ok_or_else(|| {
        let why = "it has no `token_url`. If this is the file of --cache-store, import the configuration and name this file with \
                   --cache-store";
        (section.line, why.to_owned())
    })?;
    let client_id = found.get("client_id").ok_or_else(|| (section.line, "its `client_id` is missing".to_owned()))?;
    if client_id.contains(EXAMPLE) || token_url.contains(EXAMPLE) {
        let why = "it is an unedited example: its `client_id` or `token_url` is a placeholder";
        return Err((section.line, why.to_owned()));
    }
    for key in ONE_LINE {
        if let Some(entry) = found.entry(key).filter(|entry| entry.value.contains(char::is_whitespace)) {
            // Not repeated: what goes on in the next line may be a secret.
            return Err((entry.line, format!("its `{key}` contains spaces or continues on the next line")));
        }
    }
    if !is_plain(client_id) {
        return Err((found.line("client_id"), "its `client_id` contains invalid characters".to_owned()));
    }
    let url = Url::parse(token_url).ok().filter(|url| url.scheme() == "https");
    let token_url = url.ok_or_else(|| {
        (found.line("token_url"), "its `token_url` is not an https:// address, which Oxpost requires".to_owned())
    })?;
    let grant = grant(found)?;
    let authority = token_url.host_str().unwrap_or_default().to_owned();
    let key = Family::of_authority(&authority).map_or_else(|| Key::Other(authority.clone()), Key::Known);
    Ok(Wanted { found, mailbox, grant, client_id, token_url, authority, key })
}

/// Its flow counts only where no page for a person is named.
fn grant(found: &Found<'_>) -> Result<Grant, Why> {
    if found.get("permission_url").is_some() {
        return Ok(Grant::SignIn);
    }
    let why = match found.get("oauth2_flow") {
        Some("client_credentials") => return Ok(Grant::ClientCredentials),
        Some("password") => return Ok(Grant::Password),
        Some("service_account") => {
            "Oxpost has no service accounts of Google; sign in as the mailbox itself with an OAuth client of the type Desktop app \
             (provider = \"gmail\")"
                .to_owned()
        }
        Some(flow) => format!("Oxpost has no flow `{}`; add the account with another grant: `oxpost account add`", shown(flow)),
        None => "it has neither `permission_url` nor `oauth2_flow`, so its grant is unknown".to_owned(),
    };
    Err((found.line("oauth2_flow"), why))
}

/// Plans the accounts and their applications.
pub(super) fn accounts(plan: &mut Plan, wanted: Vec<Wanted<'_>>, servers: &Servers, folder: &Path) {
    let mut places: HashMap<(String, Option<String>, String), Vec<usize>> = HashMap::new();
    for one in wanted {
        let found = one.found;
        let (provider, tenant) = match provider(plan, &one, servers) {
            Ok(provider) => provider,
            Err((line, why)) => {
                plan.leave(line, found.name(), why);
                continue;
            }
        };
        let key = (one.authority.clone(), tenant.clone(), one.client_id.to_owned());
        let places = places.entry(key).or_default();
        let known = places
            .iter()
            .copied()
            .find(|place| plan.applications.get(*place).is_some_and(|application| application.provider == provider));
        let application = application(&one, provider, tenant, folder);
        let place = match known {
            Some(place) => {
                join(plan, place, application, found);
                place
            }
            None => {
                plan.applications.push(application);
                places.push(plan.applications.len() - 1);
                plan.applications.len() - 1
            }
        };
        let sealed = sealed(plan, found);
        if let Some(entry) = found.entry("oauth2_resource") {
            let why = "tokens are asked for by scope here, in all clouds; if the sign-in service refuses that, sign in instead: \
                       `oxpost account add ADDRESS`";
            plan.leave(entry.line, format!("{}, `oauth2_resource`", found.name()), why);
        }
        if one.grant == Grant::ClientCredentials && found.password_is_secret && found.secret().is_none() {
            plan.leave(
                found.section.line,
                found.name(),
                "its client secret is in no file: it is the password that the mail program sends, which is only a local one here. Seal \
                 the secret with `oxpost application secret NAME`",
            );
        }
        plan.accounts.push(Account {
            line: found.section.line,
            mailbox: one.mailbox,
            application: place,
            grant: one.grant,
            sealed,
        });
    }
}

fn application(one: &Wanted<'_>, provider: Provider, tenant: Option<String>, folder: &Path) -> Application {
    let found = one.found;
    let absolute = |path: &str| std::path::absolute(folder.join(path)).unwrap_or_else(|_| folder.join(path));
    let secret = found.secret();
    let sealed_secret = found.get("client_secret_encrypted").is_some();
    let certificate = match (found.get("jwt_certificate_path"), found.get("jwt_key_path")) {
        // With both, the program used the secret.
        (Some(certificate), Some(key)) if secret.is_none() && !sealed_secret => {
            Some((absolute(certificate), absolute(key)))
        }
        _ => None,
    };
    Application {
        line: found.section.line,
        provider,
        tenant,
        client_id: Some(one.client_id.to_owned()),
        redirect_uri: found.get("redirect_uri").and_then(|uri| redirect(uri, &one.key)),
        certificate,
        secret: secret.map(Secret::from),
        resolved: None,
    }
}

/// A second account of an application brings what the first did not have.
fn join(plan: &mut Plan, place: usize, second: Application, found: &Found<'_>) {
    let Some(first) = plan.applications.get_mut(place) else { return };
    let line = first.line;
    let mut differs = Vec::new();
    match (&first.secret, second.secret) {
        (None, secret) => first.secret = secret,
        (Some(one), Some(other)) if *one != other => differs.push("client_secret"),
        _ => {}
    }
    match (&first.certificate, second.certificate) {
        (None, certificate) => first.certificate = certificate,
        (Some(one), Some(other)) if *one != other => differs.push("jwt_certificate_path"),
        _ => {}
    }
    if first.redirect_uri != second.redirect_uri {
        differs.push("redirect_uri");
    }
    for key in differs {
        let why = format!(
            "the account of line {line} has the same application and another one; an application has one here, that of line {line}"
        );
        plan.leave(found.line(key), format!("{}, `{key}`", found.name()), why);
    }
}

/// What was sealed with the account's password.
fn sealed(plan: &mut Plan, found: &Found<'_>) -> Option<Sealed> {
    // Tokens are the account's own, never its domain's.
    let own = |key: &str| found.section.get(key).map(str::to_owned);
    let client_secret = found.get("client_secret_encrypted").filter(|_| found.secret().is_none()).map(str::to_owned);
    let (refresh_token, proof) = (own("refresh_token"), own("access_token"));
    if refresh_token.is_none() && client_secret.is_none() && proof.is_none() {
        return None;
    }
    match Lock::new(found.get("token_salt"), found.get("token_iterations")) {
        Ok(lock) => Some(Sealed { lock, refresh_token, client_secret, proof }),
        Err(error) => {
            let key = if refresh_token.is_some() { "refresh_token" } else { "client_secret_encrypted" };
            if refresh_token.is_some() || client_secret.is_some() {
                plan.leave(found.line(key), format!("{}, `{key}`", found.name()), error.to_string());
            }
            None
        }
    }
}
