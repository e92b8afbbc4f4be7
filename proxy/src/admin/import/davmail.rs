//! A properties file of DavMail.
//!
//! DavMail translates Exchange's web services into IMAP, POP3 and SMTP, so its app registration rarely has the permissions
//! for the protocols themselves, nor consent to them. What carries over is where it listens, the tenant, the
//! client id, and the mailboxes whose sign-in it remembers.

use std::collections::{HashMap, HashSet};

use oxpost_token_store::{Grant, Mailbox};

use super::properties::{self, Property};
use super::service::is_plain;
use super::{Account, Application, Listener, Plan, Program, Provider, key_name, shown};
use crate::config::{ListenerTls, Protocol};

/// DavMail's own registration, used if the file names none. It is for Exchange's web services only.
const DAVMAILS_CLIENT_ID: &str = "facd6cff-a294-4415-b59f-c5b01937d7bd";

/// The remembered sign-in of an account: `davmail.oauth.NAME.refreshToken`.
const TOKEN: (&str, &str) = ("davmail.oauth.", ".refreshToken");

/// What was looked at, and what nothing depends on here: how it looks, what it shows, how it speaks with Exchange.
const SILENT: [&str; 33] = [
    "davmail.acceptEncodingGzip",
    "davmail.allowRemote",
    "davmail.clientSoTimeout",
    "davmail.disableGuiNotifications",
    "davmail.disableTrayActivitySwitch",
    "davmail.disableUpdateCheck",
    "davmail.enableChunkedRequest",
    "davmail.enableGraph",
    "davmail.enableKeepAlive",
    "davmail.enableOidc",
    "davmail.enableTray",
    "davmail.exitOnBindFailed",
    "davmail.folderFetchPageSize",
    "davmail.graphUrl",
    "davmail.httpMaxRedirects",
    "davmail.imapAlwaysApproxMsgSize",
    "davmail.imapIdleDelay",
    "davmail.loginUrl",
    "davmail.oauth.allowSingleSignOnUsingOSPrimaryAccount",
    "davmail.oauth.clientId",
    "davmail.oauth.fingerprint",
    "davmail.oauth.persistToken",
    "davmail.oauth.redirectUri",
    "davmail.oauth.refreshTokenOrigin",
    "davmail.oauth.scope",
    "davmail.oauth.tenantId",
    "davmail.outlookUrl",
    "davmail.server",
    "davmail.showStartupBanner",
    "davmail.smtpSaveInSent",
    "davmail.tld",
    "davmail.trayBackgroundColor",
    "davmail.trayGrayscale",
];

pub(super) fn looks_like(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("davmail."))
}

pub(super) fn plan(text: &str) -> Plan {
    let mut plan = Plan { program: Program::DavMail, ..Plan::default() };
    // As in Java, the last one of a name counts.
    let last: HashMap<String, Property> =
        properties::parse(text).into_iter().map(|property| (property.key.clone(), property)).collect();
    let get = |key: &str| last.get(key).map(|property| property.value.as_str()).filter(|value| !value.is_empty());
    let application = application(&mut plan, &get);
    let remote = get("davmail.allowRemote").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let mut properties: Vec<&Property> = last.values().filter(|property| !property.value.is_empty()).collect();
    properties.sort_by_key(|property| property.line);
    let mut mailboxes = HashSet::new();
    for property in properties {
        match property.key.as_str() {
            "davmail.imapPort" => listener(&mut plan, property, Protocol::Imap, remote),
            "davmail.popPort" => listener(&mut plan, property, Protocol::Pop3, remote),
            "davmail.smtpPort" => listener(&mut plan, property, Protocol::Smtp, remote),
            key if SILENT.contains(&key) => {}
            key => match key.strip_prefix(TOKEN.0).and_then(|rest| rest.strip_suffix(TOKEN.1)) {
                Some(name) => account(&mut plan, property, name, application, &mut mailboxes),
                None => other(&mut plan, property),
            },
        }
    }
    plan.left.sort_by_key(|left| left.line);
    plan
}

fn application<'a>(plan: &mut Plan, get: &impl Fn(&str) -> Option<&'a str>) -> usize {
    let client_id = get("davmail.oauth.clientId").filter(|id| *id != DAVMAILS_CLIENT_ID && is_plain(id));
    let why = if client_id.is_none() {
        "the file uses DavMail's own app registration, which has no permission for IMAP, POP3 and SMTP. Register one as \
         docs/register-application.md shows, enter it where proxy.toml has a comment for it, and run this command again"
    } else {
        "for IMAP, POP3 and SMTP it needs permissions of their own: add those that docs/register-application.md lists, and \
         `http://localhost` as its redirect URI"
    };
    plan.leave(1, "the app registration", why);
    let tenant = get("davmail.oauth.tenantId");
    if tenant.is_some_and(|tenant| !is_plain(tenant)) {
        plan.leave(
            1,
            "`davmail.oauth.tenantId`",
            "it is not a valid tenant; `common` is used instead. Correct it in proxy.toml",
        );
    }
    let provider = match (get("davmail.tld"), get("davmail.loginUrl")) {
        (Some("us"), _) => "us-gov-high",
        (Some("cn"), _) => "china",
        (_, Some(url)) if url.contains("microsoftonline.us") => "us-gov-high",
        (_, Some(url)) if url.contains("chinacloudapi.cn") || url.contains("microsoftonline.cn") => "china",
        _ => "office365",
    };
    plan.applications.push(Application {
        line: 1,
        provider: Provider::Preset(provider),
        tenant: Some(tenant.filter(|tenant| is_plain(tenant)).unwrap_or("common").to_owned()),
        client_id: client_id.map(str::to_owned),
        redirect_uri: None,
        certificate: None,
        secret: None,
        resolved: None,
    });
    plan.applications.len() - 1
}

fn listener(plan: &mut Plan, property: &Property, protocol: Protocol, remote: bool) {
    let what = key_name(&property.key);
    let Some(port) = property.value.trim().parse::<u16>().ok().filter(|port| *port > 0) else {
        return plan.leave(property.line, what, format!("`{}` is not a port", shown(&property.value)));
    };
    if remote {
        plan.leave(
            property.line,
            format!("{what} with davmail.allowRemote"),
            "other machines could reach it there. It listens on 127.0.0.1 now; to serve others, write its address and their networks \
             into its [[listener]] (proxy.toml shows how)",
        );
    }
    let address = format!("127.0.0.1:{port}");
    if let Some(other) = plan.listeners.iter().find(|other| other.address == address) {
        let why =
            format!("the {} listener of line {} has this port too; give it another one", other.protocol, other.line);
        return plan.leave(property.line, what, why);
    }
    let reached_at = remote.then(|| format!("0.0.0.0:{port}"));
    let line = property.line;
    plan.listeners.push(Listener { line, protocol, address, tls: ListenerTls::None, certificate: None, reached_at });
}

fn account(plan: &mut Plan, property: &Property, name: &str, application: usize, mailboxes: &mut HashSet<Mailbox>) {
    let line = property.line;
    let Ok(mailbox) = Mailbox::parse(name) else {
        return plan.leave(
            line,
            key_name(&property.key),
            "it names no mail address; add it with `oxpost account add ADDRESS`",
        );
    };
    if !mailboxes.insert(mailbox.clone()) {
        return plan.leave(line, key_name(&property.key), "the account is a duplicate");
    }
    let why =
        "the sign-in was for Exchange Web Services, without consent for the mail protocols: `oxpost sign-in ADDRESS`";
    plan.leave(line, format!("the sign-in of {mailbox}"), why);
    plan.accounts.push(Account { line, mailbox, application, grant: Grant::SignIn, sealed: None });
}

fn other(plan: &mut Plan, property: &Property) {
    let (key, value) = (property.key.as_str(), property.value.as_str());
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
    let no = value.eq_ignore_ascii_case("false") || value == "0";
    let why = match key {
        "davmail.mode" | "davmail.url" | "davmail.authentication" if value.contains("365") => return,
        "davmail.mode" | "davmail.url" | "davmail.enableEws" => {
            "Oxpost connects to Microsoft 365 by IMAP, POP3 and SMTP, and not to Exchange servers on premises"
        }
        "davmail.authentication" | "davmail.authenticator" => {
            "users sign in with `oxpost sign-in`, with a browser on this computer or another one"
        }
        "davmail.bindAddress" => {
            "write it as `address` of the [[listener]]s in proxy.toml, with the networks they serve"
        }
        "davmail.userWhiteList" => "only accounts may log in: `oxpost account list`",
        "davmail.oauth.tokenFilePath" => {
            "the mailboxes with a stored sign-in are in that file: add them with `oxpost account add ADDRESS`, and sign in"
        }
        "davmail.keepDelay" | "davmail.sentKeepDelay" => "Oxpost never removes messages by itself",
        "davmail.imapAutoExpunge" => "Exchange removes a message only when the mail program sends EXPUNGE",
        "davmail.popMarkReadOnRetr" | "davmail.smtpStripFrom" | "davmail.smtpAllowDuplicateSend" if no => return,
        "davmail.popMarkReadOnRetr" => "the POP3 server of Exchange decides this",
        "davmail.smtpStripFrom" => "Exchange accepts another From address only with the permission Send As",
        "davmail.server.certificate.hash" => {
            "certificates are always verified; name your certificate authority in [trust] ca-file"
        }
        _ if starts(&["davmail.ssl.keystore", "davmail.ssl.keyPass"]) => {
            "its listeners had TLS with a Java keystore. Export certificate and key as PEM, and name them in each [[listener]] of \
             proxy.toml with tls = \"implicit\""
        }
        _ if starts(&["davmail.ssl.nosecure"]) && no => return,
        _ if starts(&["davmail.ssl."]) => {
            "TLS is configured by `tls` of a [[listener]] and by [trust] in proxy.toml; client certificates are not supported"
        }
        _ if starts(&[
            "davmail.caldav",
            "davmail.carddav",
            "davmail.ldap",
            "davmail.dumpICS",
            "davmail.timezoneId",
        ]) || matches!(
            key,
            "davmail.forceActiveSyncUpdate"
                | "davmail.deleteBroken"
                | "davmail.excludePrivateEvents"
                | "davmail.ignoreNoneMatchStar"
        ) =>
        {
            "Oxpost has no calendar and no address book"
        }
        _ if key.to_ascii_lowercase().contains("prox") && no => return,
        _ if key.to_ascii_lowercase().contains("prox") => {
            "Oxpost uses the HTTP proxy of the system or of the variable HTTPS_PROXY, and connects to mail servers directly"
        }
        _ if starts(&["log4j.", "davmail.log"]) => {
            "the log is configured by [log] in proxy.toml and written to standard error"
        }
        _ if no => return,
        _ => "Oxpost has no such setting",
    };
    plan.leave(property.line, key_name(key), why);
}
