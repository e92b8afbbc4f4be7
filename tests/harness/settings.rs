//! A generated proxy.toml.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::office365::Tenant;

/// One listener of each, without TLS, at a port that the system chooses.
pub(super) const PROTOCOLS: [&str; 3] = ["imap", "pop3", "smtp"];

/// What a generated proxy.toml says: one complete `[[provider]]`, one `[[application]]` that uses it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// IMAP with TLS from the first byte: the name its certificate carries, and the port.
    pub imap: (String, u16),
    /// The same for POP3.
    pub pop3: (String, u16),
    /// Submission with STARTTLS.
    pub smtp: (String, u16),
    /// Its provider documents AUTH with an initial response.
    pub smtp_initial_response: bool,
    /// What the submission server takes of one mailbox: `{ max-connections = 3 }`; without it, Oxpost knows of no limit.
    pub sending: Option<String>,
    /// The authority, without the tenant.
    pub authority: String,
    /// The tenant's id.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// Where its registration sends the browser back to, if that is not http://localhost.
    pub redirect_uri: Option<String>,
    /// Its secret, if it has one.
    pub client_secret: Option<String>,
    /// The certificate authorities to trust, PEM; no others are.
    pub trusted: String,
    /// The ports to listen on, for IMAP, POP3 and SMTP; 0 leaves the choice to the system.
    pub ports: [u16; 3],
    /// How much is logged.
    pub level: String,
    /// Tables to be added at the end, such as `[limits]`.
    pub more: String,
}

impl Settings {
    /// A configuration that uses nothing but a simulated tenant.
    pub fn of(tenant: &Tenant, client_id: &str) -> Self {
        let local = |address: SocketAddr| ("localhost".to_owned(), address.port());
        Self {
            imap: local(tenant.imap()),
            pop3: local(tenant.pop3()),
            smtp: local(tenant.smtp()),
            smtp_initial_response: true,
            sending: None,
            authority: tenant.authority(),
            tenant: tenant.id().to_owned(),
            client_id: client_id.to_owned(),
            redirect_uri: None,
            client_secret: None,
            trusted: tenant.ca_pem().to_owned(),
            ports: [0; 3],
            level: "debug".into(),
            more: String::new(),
        }
    }

    /// Writes the configuration, and the files it names, into a folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join("proxy.toml"), self.toml())?;
        std::fs::write(folder.join("ca.pem"), &self.trusted)?;
        if let Some(secret) = &self.client_secret {
            write_private(&folder.join("client-secret.txt"), secret)?;
        }
        Ok(())
    }

    fn toml(&self) -> String {
        let mut text = format!("[log]\nlevel = {:?}\nformat = \"json\"\n\n", self.level);
        for (protocol, port) in PROTOCOLS.iter().zip(self.ports) {
            let _ = writeln!(text, "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:{port}\"\n");
        }
        let server = |(host, port): &(String, u16)| format!("host = {host:?}, port = {port}");
        let _ = writeln!(
            text,
            "[[provider]]\nname = \"test\"\n\
             imap = {{ {} }}\npop3 = {{ {} }}\nsmtp = {{ {}, tls = \"start-tls\" }}\n\
             authority = {:?}\n\
             delegated-scopes = [\"https://outlook.office.com/IMAP.AccessAsUser.All\", \
             \"https://outlook.office.com/POP.AccessAsUser.All\", \"https://outlook.office.com/SMTP.Send\", \"offline_access\"]\n\
             app-scopes = [\"https://outlook.office365.com/.default\"]",
            server(&self.imap),
            server(&self.pop3),
            server(&self.smtp),
            self.authority,
        );
        if self.smtp_initial_response {
            text.push_str("smtp-initial-response = true\n");
        }
        if let Some(sending) = &self.sending {
            let _ = writeln!(text, "sending = {sending}");
        }
        let _ = writeln!(
            text,
            "\n[[application]]\nname = \"default\"\nprovider = \"test\"\ntenant = {:?}\nclient-id = {:?}",
            self.tenant, self.client_id
        );
        if let Some(uri) = &self.redirect_uri {
            let _ = writeln!(text, "redirect-uri = {uri:?}");
        }
        if self.client_secret.is_some() {
            text.push_str("client-secret-file = \"client-secret.txt\"\n");
        }
        let _ = writeln!(text, "\n[trust]\nsystem-roots = false\nca-file = \"ca.pem\"\n\n{}", self.more);
        text
    }
}

/// Writes a file that only its owner may read, as Oxpost wants files with secrets.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    std::io::Write::write_all(&mut options.open(path)?, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_generated_configuration_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            imap: ("localhost".into(), 1),
            pop3: ("localhost".into(), 2),
            smtp: ("127.0.0.1".into(), 3),
            smtp_initial_response: true,
            sending: Some("{ max-connections = 7, messages-per-minute = 0 }".into()),
            authority: "https://localhost:4".into(),
            tenant: "contoso.com".into(),
            client_id: "a-b".into(),
            redirect_uri: None,
            client_secret: None,
            trusted: String::new(),
            ports: [0; 3],
            level: "info".into(),
            more: "[limits]\nlogin-timeout = \"5s\"\n".into(),
        };
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, settings.toml()).unwrap();
        let config = oxpost::Config::load(&file).unwrap();
        assert_eq!(config.servers.get("default").unwrap().smtp.port, 3);
        assert!(config.servers.get("default").unwrap().smtp_initial_response);
        assert_eq!(config.servers.get("default").unwrap().sending.max_connections, 7);
        assert_eq!(config.limits.login_timeout, Duration::from_secs(5));
    }
}
