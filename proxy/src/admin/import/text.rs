//! Parts of a plan as the text of a `proxy.toml`.

use std::fmt::Write as _;
use std::path::Path;

use super::{Application, Listener, Program, shown};
use crate::config::file::{self, Server};
use crate::config::{ListenerTls, Protocol, ServerTls};

/// Where mail programs connect if the file does not say, as in the `proxy.toml` that comes with Oxpost.
pub(super) const USUAL_LISTENERS: &str = "
[[listener]]
protocol = \"imap\"
address = \"127.0.0.1:1143\"

[[listener]]
protocol = \"pop3\"
address = \"127.0.0.1:1110\"

[[listener]]
protocol = \"smtp\"
address = \"127.0.0.1:1587\"
";

pub(super) fn head(program: Program, source: &Path) -> String {
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "# Made by `oxpost import` from {}, a configuration of {program}.\n\
         # The proxy.toml that comes with Oxpost shows the other settings.\n",
        shown(&name)
    )
}

pub(super) fn listener(listener: &Listener) -> String {
    let protocol = match listener.protocol {
        Protocol::Imap => "imap",
        Protocol::Pop3 => "pop3",
        Protocol::Smtp => "smtp",
    };
    let mut text = format!("\n[[listener]]\nprotocol = \"{protocol}\"\naddress = {}\n", quoted(&listener.address));
    match listener.tls {
        ListenerTls::None => {}
        ListenerTls::StartTls => text.push_str("tls = \"start-tls\"\n"),
        ListenerTls::Implicit => text.push_str("tls = \"implicit\"\n"),
    }
    if let Some((certificate, key)) = &listener.certificate {
        let _ = write!(text, "certificate = {}\nprivate-key = {}\n", path(certificate), path(key));
    }
    if let Some(reached_at) = &listener.reached_at {
        let _ = write!(
            text,
            "# Other machines could reach it. To serve them again, say which; without a certificate, allow-plaintext = true too.\n\
             #address = {}\n#networks = [\"192.168.1.0/24\"]\n",
            quoted(reached_at)
        );
    }
    text
}

pub(super) fn provider(name: &str, provider: &file::Provider) -> String {
    let mut text = format!("\n[[provider]]\nname = {}\n", quoted(name));
    for (key, value) in [
        ("based-on", &provider.based_on),
        ("authority", &provider.authority),
        ("authorize-url", &provider.authorize_url),
        ("token-url", &provider.token_url),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
    }
    for (key, server) in [("imap", &provider.imap), ("pop3", &provider.pop3), ("smtp", &provider.smtp)] {
        if let Some(Server { host, port, tls }) = server {
            let tls = if *tls == ServerTls::StartTls { ", tls = \"start-tls\"" } else { "" };
            let _ = writeln!(text, "{key} = {{ host = {}, port = {port}{tls} }}", quoted(host));
        }
    }
    for (key, scopes) in [("delegated-scopes", &provider.delegated_scopes), ("app-scopes", &provider.app_scopes)] {
        if let Some(scopes) = scopes {
            let scopes: Vec<String> = scopes.iter().map(|scope| quoted(scope)).collect();
            let _ = writeln!(text, "{key} = [{}]", scopes.join(", "));
        }
    }
    text
}

/// Without a client id it is a comment, to be filled in.
pub(super) fn application(name: &str, provider: &str, application: &Application) -> String {
    let mut text = format!("[[application]]\nname = {}\nprovider = {}\n", quoted(name), quoted(provider));
    if let Some(tenant) = &application.tenant {
        let _ = writeln!(text, "tenant = {}", quoted(tenant));
    }
    let client_id = application.client_id.as_deref().unwrap_or("00000000-0000-0000-0000-000000000000");
    let _ = writeln!(text, "client-id = {}", quoted(client_id));
    if let Some(uri) = &application.redirect_uri {
        let _ = writeln!(text, "redirect-uri = {}", quoted(uri));
    }
    if let Some((certificate, key)) = &application.certificate {
        let _ = write!(text, "certificate = {}\nprivate-key = {}\n", path(certificate), path(key));
    }
    if application.client_id.is_some() {
        return format!("\n{text}");
    }
    let comment: String = text.lines().map(|line| format!("#{line}\n")).collect();
    format!("\n# Write the client id of your app registration here, and take the # off these lines.\n{comment}")
}

/// A string that TOML reads back as it was.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_back_as_they_were() {
        for text in [r"C:\certs\a.pem", "it's \"quoted\"", "'''", "a\nb\u{1}", "", "\u{7f}\u{85}ä"] {
            let table: toml::Table = toml::from_str(&format!("x = {}", quoted(text))).unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}
