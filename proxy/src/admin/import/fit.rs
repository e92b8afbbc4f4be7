//! Every part of a plan is tried as the program itself would read it, so that what is written can be loaded: a part that
//! cannot be used is listed, in the words of `oxpost check`, and the rest stands.

use std::path::Path;

use super::{Account, Application, Listener, Plan, Provider, text};
use crate::config::Config;
use crate::net::tls;

/// A name for the time of the test.
const NAME: &str = "imported";

impl Plan {
    /// Moves what cannot be used to what is left. `path` is where `proxy.toml` is, or will be.
    pub(crate) fn fit(&mut self, path: &Path) {
        for listener in std::mem::take(&mut self.listeners) {
            match fits(path, &listener) {
                Ok(()) => self.listeners.push(listener),
                Err(why) => {
                    let why = format!("{why} Fix it, and add the [[listener]] to proxy.toml");
                    self.leave(listener.line, format!("{} on {}", listener.protocol, listener.address), why);
                }
            }
        }
        for mut application in std::mem::take(&mut self.applications) {
            self.resolve(path, &mut application);
            self.applications.push(application);
        }
        for account in std::mem::take(&mut self.accounts) {
            match self.application_of(&account) {
                Ok(()) => self.accounts.push(account),
                Err(why) => self.leave(account.line, format!("[{}]", account.mailbox), why),
            }
        }
        self.left.sort_by_key(|left| left.line);
    }

    fn application_of(&self, account: &Account) -> Result<(), String> {
        let application = self.applications.get(account.application);
        let line = application.map_or(account.line, |application| application.line);
        let Some(resolved) = application.and_then(|application| application.resolved.as_ref()) else {
            return Err(format!("its application (line {line}) cannot be used"));
        };
        // The application has no name yet.
        let named = |text: String| {
            text.replace(&format!("the application `{NAME}`"), &format!("its application (line {line})"))
                .replace(&format!("The application `{NAME}`"), &format!("Its application (line {line})"))
        };
        resolved.suits(account.grant).map_err(|problem| named(problem.to_string()))
    }

    /// Takes away what cannot be used, as long as the rest can.
    fn resolve(&mut self, path: &Path, application: &mut Application) {
        loop {
            let text = application_text(application);
            let error = match Config::try_text(path, &text) {
                Ok(config) => {
                    application.resolved = config.applications.get(NAME).map(|one| (**one).clone());
                    return;
                }
                Err(error) => error,
            };
            let key = |line: &Option<usize>| {
                let line = text.lines().nth(line.unwrap_or_default().saturating_sub(1))?;
                Some(line.split(' ').next().unwrap_or_default().to_owned())
            };
            let sentences = || error.problems().iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join(" ");
            let keys: Vec<String> = error.problems().iter().filter_map(|(line, _)| key(line)).collect();
            let is = |names: &[&str]| !keys.is_empty() && keys.iter().all(|key| names.contains(&key.as_str()));
            let line = application.line;
            if application.certificate.is_some() && is(&["certificate", "private-key"]) {
                application.certificate = None;
                let why = format!(
                    "{} Fix it, and write `certificate` and `private-key` into its [[application]] in proxy.toml",
                    sentences()
                );
                self.leave(line, "the certificate of this account's application", why);
            } else if application.redirect_uri.is_some() && is(&["redirect-uri"]) {
                application.redirect_uri = None;
                self.leave(line, "the `redirect_uri` of this account's application", sentences());
            } else {
                self.leave(line, "this account's application", sentences());
                return;
            }
        }
    }
}

fn fits(path: &Path, listener: &Listener) -> Result<(), String> {
    let sentences = |error: crate::config::ConfigError| {
        error.problems().iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join(" ")
    };
    Config::try_text(path, &text::listener(listener)).map_err(sentences)?;
    if let Some((certificate, key)) = &listener.certificate {
        tls::server_config(certificate, key).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn application_text(application: &Application) -> String {
    let (name, from_section) = match &application.provider {
        Provider::Preset(name) => (*name, String::new()),
        Provider::SpeltOut(provider) => (NAME, text::provider(NAME, provider)),
    };
    // One that has no client id yet must be right otherwise.
    let own = text::application(NAME, name, application);
    let own: String = match application.client_id {
        Some(_) => own,
        None => own
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)))
            .collect(),
    };
    format!("{from_section}{own}")
}
