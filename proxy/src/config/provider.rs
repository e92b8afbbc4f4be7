//! The mail services Oxpost knows by name, and those that the file defines, wholly or based on one of these.

use std::collections::BTreeMap;

use url::Url;

use super::SendingLimits;
use super::file::{self, Sending, Server, ServerTls};

/// The presets, for messages.
pub(crate) const PRESETS: [&str; 6] = ["office365", "outlook.com", "us-gov-high", "us-gov-dod", "china", "gmail"];

/// What a request to the authorize page is made of. A provider adds to it, and does not replace it.
const OUR_PARAMETERS: [&str; 7] =
    ["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"];

/// A mail service, complete.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) imap: Server,
    pub(super) pop3: Server,
    pub(super) smtp: Server,
    /// Whether its documentation shows AUTH with an initial response (RFC 4954, 4).
    pub(super) smtp_initial_response: bool,
    pub(super) sending: SendingLimits,
    addresses: Addresses,
    pub(super) authorize_parameters: BTreeMap<String, String>,
    pub(super) delegated_scopes: Vec<String>,
    pub(super) app_scopes: Vec<String>,
    pub(super) openid: bool,
    /// The tenant of an application that names none.
    pub(super) tenant: Option<String>,
}

/// Where its authority is asked: by the pattern of Entra under `authority`, or by explicit addresses.
#[derive(Debug, Clone, Default)]
struct Addresses {
    authority: Option<String>,
    authorize: Option<String>,
    token: Option<String>,
    device_code: Option<String>,
}

/// The addresses of an application's authority.
pub(super) struct Endpoints {
    pub(super) authorize: Url,
    pub(super) token: Url,
    pub(super) device_code: Option<Url>,
}

/// A sentence, and the key of the `[[provider]]` or `[[application]]` it is about.
pub(super) type Wrong = (&'static str, String);

/// A preset.
///
/// Hosts and ports: <https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/pop3-and-imap4/pop3-and-imap4>
/// and <https://learn.microsoft.com/microsoft-365/enterprise/microsoft-365-endpoints> (the lists of the government clouds
/// and of 21Vianet); scopes:
/// <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>.
/// Microsoft writes down no scopes for the government clouds: theirs are formed like the others, from the mail host.
pub(super) fn preset(name: &str) -> Option<Provider> {
    let worldwide = "https://login.microsoftonline.com";
    let us_gov = "https://login.microsoftonline.us";
    Some(match name {
        // Only the outlook.office.com names of the scopes work for personal and for work accounts alike.
        "office365" => microsoft(
            name,
            ["outlook.office365.com", "smtp.office365.com"],
            worldwide,
            ["https://outlook.office.com", "https://outlook.office365.com"],
        ),
        "outlook.com" => Provider {
            tenant: Some("consumers".into()),
            // "Sending limits in Outlook.com", <https://support.microsoft.com>; of new accounts it takes less.
            sending: SendingLimits { recipients_per_day: 5_000, ..EXCHANGE },
            // Only its owner may open a personal mailbox.
            app_scopes: Vec::new(),
            ..microsoft(
                name,
                ["outlook.office365.com", "smtp-mail.outlook.com"],
                worldwide,
                ["https://outlook.office.com", ""],
            )
        },
        "us-gov-high" => microsoft(name, ["outlook.office365.us"; 2], us_gov, ["https://outlook.office365.us"; 2]),
        "us-gov-dod" => {
            microsoft(name, ["outlook-dod.office365.us"; 2], us_gov, ["https://outlook-dod.office365.us"; 2])
        }
        "china" => microsoft(
            name,
            ["partner.outlook.cn", "smtp.partner.outlook.cn"],
            "https://login.partner.microsoftonline.cn",
            ["https://partner.outlook.cn"; 2],
        ),
        "gmail" => gmail(),
        _ => return None,
    })
}

fn microsoft(name: &str, [mail, smtp]: [&str; 2], authority: &str, [delegated, app]: [&str; 2]) -> Provider {
    let permissions = ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send"];
    Provider {
        name: name.to_owned(),
        imap: server(mail, 993, ServerTls::Implicit),
        pop3: server(mail, 995, ServerTls::Implicit),
        smtp: server(smtp, 587, ServerTls::StartTls),
        // The page above shows both forms.
        smtp_initial_response: true,
        sending: EXCHANGE,
        addresses: Addresses { authority: Some(authority.to_owned()), ..Addresses::default() },
        authorize_parameters: BTreeMap::new(),
        delegated_scopes: permissions
            .iter()
            .map(|permission| format!("{delegated}/{permission}"))
            // Brings the refresh token.
            .chain(["offline_access".to_owned()])
            .collect(),
        app_scopes: vec![format!("{app}/.default")],
        openid: true,
        tenant: None,
    }
}

/// Servers and scope: <https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>; addresses:
/// <https://developers.google.com/identity/protocols/oauth2/native-app>. Google gives no mail to device codes.
fn gmail() -> Provider {
    // Google's way to ask for a refresh token; without `consent` there is one at the first sign-in only.
    let parameters = [("access_type", "offline"), ("prompt", "select_account consent")];
    Provider {
        name: "gmail".to_owned(),
        imap: server("imap.gmail.com", 993, ServerTls::Implicit),
        pop3: server("pop.gmail.com", 995, ServerTls::Implicit),
        smtp: server("smtp.gmail.com", 587, ServerTls::StartTls),
        // It answers a long one with `555 5.5.2`.
        smtp_initial_response: false,
        // Google names no limit of concurrent messages or messages a minute, and daily ones that depend on the kind of mailbox.
        sending: SendingLimits::default(),
        addresses: Addresses {
            authorize: Some("https://accounts.google.com/o/oauth2/v2/auth".into()),
            token: Some("https://oauth2.googleapis.com/token".into()),
            ..Addresses::default()
        },
        authorize_parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        // The id token contains the user's address only if it is requested.
        delegated_scopes: vec!["https://mail.google.com/".into(), "email".into()],
        app_scopes: Vec::new(),
        openid: true,
        tenant: None,
    }
}

/// What Exchange Online takes of one mailbox:
/// <https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits#sending-limits>.
const EXCHANGE: SendingLimits =
    SendingLimits { max_connections: 3, messages_per_minute: 30, recipients_per_day: 10_000 };

/// What is written, over what is known.
fn sending(written: Option<&Sending>, base: SendingLimits) -> SendingLimits {
    let Some(Sending { max_connections, messages_per_minute, recipients_per_day }) = written else { return base };
    SendingLimits {
        max_connections: max_connections.unwrap_or(base.max_connections),
        messages_per_minute: messages_per_minute.unwrap_or(base.messages_per_minute),
        recipients_per_day: recipients_per_day.unwrap_or(base.recipients_per_day),
    }
}

fn server(host: &str, port: u16, tls: ServerTls) -> Server {
    Server { host: host.to_owned(), port, tls }
}

impl Provider {
    /// A `[[provider]]`: what it says, over the preset it is based on.
    pub(super) fn from_section(written: &file::Provider) -> Result<Self, Vec<Wrong>> {
        let base = match &written.based_on {
            Some(name) => Some(preset(name).ok_or_else(|| vec![("based-on", no_such(name))])?),
            None => None,
        };
        let mut wrong = Vec::new();
        let lacks = |key: &'static str| {
            (key, format!("the provider `{}` has no `{key}`; write it, or based-on = \"office365\".", written.name))
        };
        let mut server = |key: &'static str, written: &Option<Server>, base: Option<&Server>| {
            let server = written.as_ref().or(base).cloned();
            if server.is_none() {
                wrong.push(lacks(key));
            }
            server
        };
        let imap = server("imap", &written.imap, base.as_ref().map(|base| &base.imap));
        let pop3 = server("pop3", &written.pop3, base.as_ref().map(|base| &base.pop3));
        let smtp = server("smtp", &written.smtp, base.as_ref().map(|base| &base.smtp));
        // What is documented of the preset's server says nothing of another one.
        let smtp_initial_response = written
            .smtp_initial_response
            .unwrap_or_else(|| written.smtp.is_none() && base.as_ref().is_some_and(|base| base.smtp_initial_response));
        let delegated =
            written.delegated_scopes.clone().or_else(|| base.as_ref().map(|base| base.delegated_scopes.clone()));
        if delegated.is_none() {
            wrong.push(lacks("delegated-scopes"));
        }
        let mut addresses = base.as_ref().map(|base| base.addresses.clone()).unwrap_or_default();
        for (written, address) in [
            (&written.authority, &mut addresses.authority),
            (&written.authorize_url, &mut addresses.authorize),
            (&written.token_url, &mut addresses.token),
            (&written.device_code_url, &mut addresses.device_code),
        ] {
            if written.is_some() {
                address.clone_from(written);
            }
        }
        if addresses.authority.is_none() && (addresses.authorize.is_none() || addresses.token.is_none()) {
            let sentence = format!(
                "the provider `{}` has no `authority`; write it, or both `authorize-url` and `token-url`.",
                written.name
            );
            wrong.push(("authority", sentence));
        }
        let mut parameters = base.as_ref().map(|base| base.authorize_parameters.clone()).unwrap_or_default();
        parameters.extend(written.authorize_parameters.clone());
        if let Some(name) = parameters.keys().find(|name| OUR_PARAMETERS.contains(&name.as_str())) {
            wrong.push(("authorize-parameters", format!("Oxpost sets `{name}` itself; remove it.")));
        }
        match (imap, pop3, smtp, delegated) {
            (Some(imap), Some(pop3), Some(smtp), Some(delegated_scopes)) if wrong.is_empty() => Ok(Self {
                name: written.name.clone(),
                imap,
                pop3,
                smtp,
                smtp_initial_response,
                sending: sending(written.sending.as_ref(), base.as_ref().map(|base| base.sending).unwrap_or_default()),
                addresses,
                authorize_parameters: parameters,
                delegated_scopes,
                app_scopes: written
                    .app_scopes
                    .clone()
                    .or_else(|| base.as_ref().map(|base| base.app_scopes.clone()))
                    .unwrap_or_default(),
                openid: written.openid.or(base.as_ref().map(|base| base.openid)).unwrap_or(true),
                tenant: base.and_then(|base| base.tenant),
            }),
            _ => Err(wrong),
        }
    }

    /// Where an application of this tenant asks.
    pub(super) fn endpoints(&self, tenant: Option<&str>) -> Result<Endpoints, Wrong> {
        let Addresses { authority, authorize, token, device_code } = &self.addresses;
        let address = |from_section: &Option<String>, name: &str| -> Result<Option<Url>, Wrong> {
            let text = match (from_section, authority, tenant) {
                (Some(from_section), ..) => from_section.clone(),
                (None, None, _) => return Ok(None),
                (None, Some(_), None) => {
                    let sentence = "the tenant is missing; write its id or one of its domains (Microsoft Entra admin center > Overview).";
                    return Err(("tenant", sentence.into()));
                }
                (None, Some(authority), Some(tenant)) => {
                    format!("{}/{tenant}/oauth2/v2.0/{name}", authority.trim_end_matches('/'))
                }
            };
            let url = Url::parse(&text).ok().filter(|url| url.scheme() == "https" && url.has_host());
            url.map(Some).ok_or_else(|| {
                let authority = authority.as_deref().unwrap_or(&text);
                let sentence =
                    format!("the authority `{authority}` of provider `{}` is not an https:// address.", self.name);
                ("provider", sentence)
            })
        };
        let missing = || ("provider", format!("the provider `{}` has no authority.", self.name));
        Ok(Endpoints {
            authorize: address(authorize, "authorize")?.ok_or_else(missing)?,
            token: address(token, "token")?.ok_or_else(missing)?,
            device_code: address(device_code, "devicecode")?,
        })
    }
}

/// What is said of a name that is no preset.
pub(super) fn no_such(name: &str) -> String {
    format!(
        "there is no provider `{name}`; the presets are {}, and a [[provider]] section can define another.",
        PRESETS.join(", ")
    )
}
