//! `[[application]]` and `[[provider]]`: who asks for tokens, by what right, and where the mail servers are.

use std::collections::HashMap;

use oxpost_token_store::{Application, Applications};
use rustls::pki_types::ServerName;
use url::Url;

use super::Checker;
use crate::config::credential::Proven;
use crate::config::file::{self, File, ServerTls};
use crate::config::provider::{self, Provider};
use crate::config::secret::{from_environment, from_file};
use crate::config::{CertificateFiles, MailService, Server, Servers, credential, notify};

/// The highest limit of messages a minute and of concurrent sessions.
const MOST_SENDING: usize = 10_000;

impl Checker<'_> {
    pub(super) fn applications(
        &mut self,
        file: &File,
    ) -> (Applications, Vec<(String, CertificateFiles)>, HashMap<String, Servers>) {
        let (mut applications, mut certificate_files) = (Vec::new(), Vec::new());
        let mut servers = HashMap::new();
        for (index, provider) in file.provider.iter().enumerate() {
            self.provider(index, provider);
        }
        for (index, application) in file.application.iter().enumerate() {
            if application.name.trim().is_empty() {
                self.report("application", Some(index), Some("name"), "an application needs a name.");
            }
            if servers.contains_key(&application.name) {
                let sentence = format!("there are two applications named `{}`.", application.name);
                self.report("application", Some(index), Some("name"), sentence);
            }
            let provider = match file.provider.iter().find(|provider| provider.name == application.provider) {
                // The problem was reported above.
                Some(written) => Provider::from_section(written).ok(),
                None => {
                    let preset = provider::preset(&application.provider);
                    if preset.is_none() {
                        let sentence = provider::no_such(&application.provider);
                        self.report("application", Some(index), Some("provider"), sentence);
                    }
                    preset
                }
            };
            let Some(provider) = provider else { continue };
            let made = self.application(index, application, &provider);
            let service = made.as_ref().map_or(MailService::Other, |(made, _)| MailService::of(made));
            if let Some((made, files)) = made {
                certificate_files.extend(files.into_iter().map(|files| (made.name.clone(), files)));
                applications.push(made);
            }
            let of = |server: &file::Server| Server { host: server.host.clone(), port: server.port, tls: server.tls };
            servers.insert(
                application.name.clone(),
                Servers {
                    imap: of(&provider.imap),
                    pop3: of(&provider.pop3),
                    smtp: of(&provider.smtp),
                    smtp_initial_response: provider.smtp_initial_response,
                    sending: provider.sending,
                    service,
                },
            );
        }
        (applications.into_iter().collect(), certificate_files, servers)
    }

    fn provider(&mut self, index: usize, provider: &file::Provider) {
        if provider::preset(&provider.name).is_some() {
            let sentence = format!("`{}` is the name of a preset; choose another one.", provider.name);
            self.report("provider", Some(index), Some("name"), sentence);
        }
        for (key, server) in [("imap", &provider.imap), ("pop3", &provider.pop3), ("smtp", &provider.smtp)] {
            let Some(server) = server else { continue };
            let host = ServerName::try_from(server.host.as_str());
            if host.is_err() || server.port == 0 {
                let sentence = format!(
                    "`{}`, port {}, is not a server; write host = \"imap.example.com\", port = 993.",
                    server.host, server.port
                );
                self.report("provider", Some(index), Some(key), sentence);
            }
        }
        if let Some(sending) = &provider.sending {
            self.sending(index, sending);
        }
        for (key, sentence) in Provider::from_section(provider).err().unwrap_or_default() {
            self.report("provider", Some(index), Some(key), sentence);
        }
        for (key, server) in [("imap", &provider.imap), ("pop3", &provider.pop3)] {
            if server.as_ref().is_some_and(|server| server.tls == ServerTls::StartTls) {
                let sentence =
                    "tls = \"start-tls\" is for smtp only; IMAP and POP3 servers are reached by implicit TLS.";
                self.report("provider", Some(index), Some(key), sentence);
            }
        }
        for (key, scopes) in [("delegated-scopes", &provider.delegated_scopes), ("app-scopes", &provider.app_scopes)] {
            if scopes.iter().flatten().any(|scope| scope.is_empty() || scope.contains(char::is_whitespace)) {
                self.report(
                    "provider",
                    Some(index),
                    Some(key),
                    "a scope is empty or contains spaces; write each scope as a string of its own.",
                );
            }
        }
    }

    fn application(
        &mut self,
        index: usize,
        application: &file::Application,
        provider: &Provider,
    ) -> Option<(Application, Vec<CertificateFiles>)> {
        let before = self.problems.len();
        let tenant = application.tenant.as_ref().or(provider.tenant.as_ref());
        for (key, value) in [("tenant", tenant), ("client-id", Some(&application.client_id))] {
            let Some(value) = value else { continue };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if value.is_empty() && application.managed_identity.is_none() {
                let sentence = format!("`{key}` is missing. Add it to this section.");
                self.report("application", Some(index), Some(key), sentence);
            } else if !value.chars().all(plain) {
                let sentence = format!(
                    "`{value}` cannot be a {key}; copy it from the Overview page of the app registration (Entra admin center)."
                );
                self.report("application", Some(index), Some(key), sentence);
            }
        }
        let client_secret = application.client_secret_file.as_ref().and_then(|secret_file| {
            from_file(&self.folder.join(&secret_file.0), "the client secret's Value")
                .map_err(|sentence| self.report("application", Some(index), Some("client-secret-file"), sentence))
                .ok()
        });
        let client_secret = client_secret.or_else(|| {
            let variable = application.client_secret_environment.as_deref()?;
            from_environment(variable)
                .map_err(|sentence| {
                    self.report("application", Some(index), Some("client-secret-environment"), sentence)
                })
                .ok()
        });
        let client_secret_expires = application.client_secret_expires.as_deref().and_then(|text| {
            let wrong = |sentence| self.report("application", Some(index), Some("client-secret-expires"), sentence);
            notify::date(text).map_err(wrong).ok()
        });
        let Proven { credential, files } = credential::credential(self.folder, application)
            .map_err(|(key, sentence)| self.report("application", Some(index), Some(key), sentence))
            .unwrap_or_default();
        if let Some(text) = application.redirect_uri.as_deref()
            && !can_be_redirect(text)
        {
            let sentence = format!(
                "`{text}` cannot be a redirect-uri here; remove it and register http://localhost, or write the registered \
                 https:// address."
            );
            self.report("application", Some(index), Some("redirect-uri"), sentence);
        }
        // A managed identity asks none of these addresses, and need not name a tenant for them.
        let tenant_or_any = tenant.map(String::as_str).or(application.managed_identity.map(|_| "common"));
        let endpoints = provider
            .endpoints(tenant_or_any)
            .map_err(|(key, sentence)| self.report("application", Some(index), Some(key), sentence))
            .ok()?;
        let made = Application {
            name: application.name.clone(),
            tenant: tenant.cloned(),
            authorize_url: endpoints.authorize,
            authorize_parameters: provider.authorize_parameters.clone().into_iter().collect(),
            redirect_uri: application.redirect_uri.clone(),
            openid: provider.openid,
            token_url: endpoints.token,
            device_code_url: endpoints.device_code,
            client_id: application.client_id.clone(),
            credential,
            client_secret,
            client_secret_expires,
            next_client_secret: None,
            delegated_scopes: provider.delegated_scopes.clone(),
            app_scopes: provider.app_scopes.clone(),
        };
        (self.problems.len() == before).then_some((made, files))
    }

    /// Numbers of messages and sessions that are meant as no limit are written 0.
    fn sending(&mut self, index: usize, sending: &file::Sending) {
        for (key, count) in
            [("max-connections", sending.max_connections), ("messages-per-minute", sending.messages_per_minute)]
        {
            if count.is_some_and(|count| count > MOST_SENDING) {
                let sentence = format!("{key} is at most {MOST_SENDING}; 0 means no limit.");
                self.report("provider", Some(index), Some("sending"), sentence);
            }
        }
    }
}

/// The address a browser comes back to: this machine, or a page whose address a person can copy.
fn can_be_redirect(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1"));
    let page = url.scheme() == "https" && url.has_host() || url.scheme() == "http" && here;
    page && url.query().is_none() && url.fragment().is_none()
}
