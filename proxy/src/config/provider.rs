//! The mail services Oxpost knows by name.

use super::file::{Provider, Server, ServerTls};

/// The presets, for messages.
pub(super) const PRESETS: [&str; 2] = ["office365", "outlook.com"];

/// A preset.
///
/// Hosts and ports: <https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/pop3-and-imap4/pop3-and-imap4>;
/// scopes: <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>.
pub(super) fn preset(name: &str) -> Option<Provider> {
    let smtp = match name {
        "office365" => "smtp.office365.com",
        "outlook.com" => "smtp-mail.outlook.com",
        _ => return None,
    };
    // Only the outlook.office.com names of the scopes work for personal and for work accounts alike.
    let delegated = ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send"];
    Some(Provider {
        name: name.to_owned(),
        imap: Server { host: "outlook.office365.com".into(), port: 993, tls: ServerTls::Implicit },
        pop3: Server { host: "outlook.office365.com".into(), port: 995, tls: ServerTls::Implicit },
        smtp: Server { host: smtp.into(), port: 587, tls: ServerTls::StartTls },
        authority: "https://login.microsoftonline.com".into(),
        delegated_scopes: delegated
            .iter()
            .map(|scope| format!("https://outlook.office.com/{scope}"))
            // Brings the refresh token.
            .chain(["offline_access".to_owned()])
            .collect(),
        app_scopes: vec!["https://outlook.office365.com/.default".into()],
    })
}
