//! The mail service of an account: one of the presets, one of them with differences, or a section of its own.

use oxpost_token_store::Grant;
use url::Url;

use super::account::{Key, Wanted, Why};
use super::servers::{Found as Servers, Servers as Other};
use super::shown;
use crate::admin::import::service::{Authority, Family, is_plain};
use crate::admin::import::{Plan, Provider};
use crate::config::ServerTls;
use crate::config::file::{self, Server};

/// The permissions that Oxpost asks for in a person's name, as the last part of each scope.
const MICROSOFT: [&str; 3] = ["imap.accessasuser.all", "pop.accessasuser.all", "smtp.send"];
const GMAIL: [&str; 1] = [""];

/// Brings the refresh token at Microsoft.
const OFFLINE: &str = "offline_access";

/// The mail service of an account, and its tenant.
pub(super) fn provider(
    plan: &mut Plan,
    one: &Wanted<'_>,
    servers: &Servers,
) -> Result<(Provider, Option<String>), Why> {
    let found = one.found;
    let scopes: Vec<String> =
        found.get("oauth2_scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let others = servers.of(&one.key);
    let family = match &one.key {
        Key::Known(family) => *family,
        Key::Other(_) => return another(plan, one, &others, scopes),
    };
    let tenant = match family {
        Family::Gmail => None,
        // Its old sign-in service, for personal accounts alone, had no tenants.
        _ if one.authority == "login.live.com" => Some("consumers".to_owned()),
        _ => Some(tenant(one)?),
    };
    let preset = family.preset(tenant.as_deref(), |host| servers.reaches(host));
    let permissions = if family == Family::Gmail { GMAIL.as_slice() } else { MICROSOFT.as_slice() };
    let last = |scope: &String| scope.rsplit('/').next().unwrap_or_default().to_lowercase();
    let has_all =
        scopes.is_empty() || permissions.iter().all(|wanted| scopes.iter().any(|scope| last(scope) == *wanted));
    let mut from_section = file::Provider { based_on: Some(preset.to_owned()), ..file::Provider::default() };
    if one.grant != Grant::ClientCredentials && !has_all {
        // A refresh that asks for more than was consented to is refused.
        let mut scopes = scopes;
        if family != Family::Gmail && !scopes.iter().any(|scope| scope == OFFLINE) {
            scopes.push(OFFLINE.to_owned());
        }
        from_section.delegated_scopes = Some(scopes);
    }
    (from_section.imap, from_section.pop3, from_section.smtp) = (others.imap, others.pop3, others.smtp);
    let same = from_section == file::Provider { based_on: Some(preset.to_owned()), ..file::Provider::default() };
    Ok((if same { Provider::Preset(preset) } else { Provider::SpeltOut(Box::new(from_section)) }, tenant))
}

fn tenant(one: &Wanted<'_>) -> Result<String, Why> {
    let first = one.token_url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    if is_plain(first) {
        return Ok(first.to_owned());
    }
    Err((one.found.line("token_url"), "its `token_url` names no tenant that can be used".to_owned()))
}

/// A service that Oxpost does not know by name.
fn another(
    plan: &mut Plan,
    one: &Wanted<'_>,
    others: &Other,
    scopes: Vec<String>,
) -> Result<(Provider, Option<String>), Why> {
    let found = one.found;
    let line = found.line("token_url");
    let host = shown(&one.authority);
    let authority = Authority::of(&one.token_url, found.get("permission_url"));
    // The address for device codes says nothing about where a browser signs in.
    let by_code = found.get("oauth2_flow") == Some("device");
    let authority = authority.filter(|of| !by_code || matches!(of, Authority::Entra { .. })).ok_or_else(|| {
        (
            line,
            format!("Oxpost does not know the sign-in service `{host}`; spell it out as a [[provider]] in proxy.toml"),
        )
    })?;
    let some = [&others.imap, &others.pop3, &others.smtp].into_iter().flatten().next();
    let some = some.ok_or_else(|| {
        let why = format!(
            "the file names no mail server that belongs to the sign-in service `{host}`; spell the service out as a [[provider]] in \
             proxy.toml"
        );
        (line, why)
    })?;
    let guess = |own: &Option<Server>, port| {
        own.clone().or_else(|| Some(Server { host: some.host.clone(), port, tls: ServerTls::Implicit }))
    };
    let missing: Vec<&str> = [("IMAP", &others.imap), ("POP3", &others.pop3), ("SMTP", &others.smtp)]
        .into_iter()
        .filter_map(|(name, server)| server.is_none().then_some(name))
        .collect();
    let mut from_section = file::Provider {
        imap: guess(&others.imap, 993),
        pop3: guess(&others.pop3, 995),
        smtp: guess(&others.smtp, 465),
        ..file::Provider::default()
    };
    if one.grant == Grant::ClientCredentials {
        (from_section.delegated_scopes, from_section.app_scopes) = (Some(Vec::new()), Some(scopes));
    } else {
        from_section.delegated_scopes = Some(scopes);
    }
    let tenant = match authority {
        Authority::Entra { base, tenant } => {
            from_section.authority = Some(base);
            Some(tenant)
        }
        Authority::SpeltOut { authorize, token } => {
            (from_section.authorize_url, from_section.token_url) = (Some(authorize), Some(token));
            None
        }
    };
    if !missing.is_empty() {
        let why = format!(
            "the file names no server for {}, and a [[provider]] has all three; what was written there is a guess after `{}`, which \
             matters only if you use it",
            missing.join(" and "),
            shown(&some.host)
        );
        plan.leave(line, format!("{}, the mail service of `{host}`", found.name()), why);
    }
    Ok((Provider::SpeltOut(Box::new(from_section)), tenant))
}

/// Entra takes any port of localhost, and the program's own advice was to give each account another one.
pub(super) fn redirect(uri: &str, key: &Key) -> Option<String> {
    let mut url = Url::parse(uri).ok()?;
    let here = url.scheme() == "http" && url.host_str() == Some("localhost");
    let shown = if here && matches!(key, Key::Known(_)) {
        url.set_port(None).ok()?;
        if uri.ends_with('/') || url.path() != "/" { url.to_string() } else { "http://localhost".to_owned() }
    } else {
        uri.to_owned()
    };
    (shown != "http://localhost").then_some(shown)
}
