//! What a `proxy.toml` that is there lacks of a plan. It is never written to: what it lacks is shown, to be added by hand.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Application, Left, Listener, Plan, Provider, text};
use crate::config::{Config, file};

/// The name of the first application, as in docs/register-application.md.
const USUAL_NAME: &str = "default";

/// A `proxy.toml` that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present<'a> {
    /// What it says.
    pub text: &'a str,
    /// What that means.
    pub config: &'a Config,
}

/// What a plan needs of `proxy.toml`, and whether it is there.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// The name of each application of the plan, in its order; none for one that cannot be used.
    pub applications: Vec<Option<Named>>,
    /// Whether each listener of the plan is there, in its order.
    pub listeners: Vec<bool>,
    /// What is to be written into `proxy.toml`; empty if nothing is missing.
    pub text: String,
    /// What would be at odds with what is there.
    pub left: Vec<Left>,
}

/// An application under its name in `proxy.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The name.
    pub name: String,
    /// It exists, or will immediately.
    pub usable: bool,
    /// It was there before.
    pub present: bool,
}

impl Missing {
    /// Compares. `source` is named in a text that is written.
    pub(crate) fn of(plan: &Plan, present: Option<Present<'_>>, source: &Path) -> Self {
        let mut missing = Self::default();
        for listener in &plan.listeners {
            missing.listener(listener, present);
        }
        if present.is_none() && plan.listeners.is_empty() {
            missing.text.push_str(text::USUAL_LISTENERS);
        }
        let mut providers: Vec<(String, &file::Provider)> = Vec::new();
        for application in &plan.applications {
            let named = missing.application(application, present, &mut providers);
            missing.applications.push(named);
        }
        if !missing.text.is_empty() && present.is_none() {
            missing.text.insert_str(0, &text::head(plan.program, source));
        }
        missing
    }

    fn listener(&mut self, listener: &Listener, present: Option<Present<'_>>) {
        let others = present.map(|present| present.config.listeners.as_slice()).unwrap_or_default();
        let same = others.iter().find(|other| other.address.to_string() == listener.address);
        self.listeners.push(same.is_some_and(|other| other.protocol == listener.protocol));
        match same {
            None => self.text.push_str(&text::listener(listener)),
            Some(other) if other.protocol == listener.protocol => {}
            Some(other) => self.left.push(Left {
                line: listener.line,
                what: format!("{} on {}", listener.protocol, listener.address),
                why: format!("proxy.toml has its {} listener there; give one of them another port", other.protocol),
            }),
        }
    }

    fn application<'a>(
        &mut self,
        application: &'a Application,
        present: Option<Present<'_>>,
        providers: &mut Vec<(String, &'a file::Provider)>,
    ) -> Option<Named> {
        application.resolved.as_ref()?;
        if let Some(name) = present.and_then(|present| find(application, present.config)) {
            return Some(Named { name, usable: true, present: true });
        }
        let taken = present.map_or("", |present| present.text);
        let provider = match &application.provider {
            Provider::Preset(name) => (*name).to_owned(),
            Provider::SpeltOut(from_section) => match providers.iter().find(|(_, known)| **known == **from_section) {
                Some((name, _)) => name.clone(),
                None => {
                    let base = provider_name(from_section);
                    let name = free(&base, |name| has(taken, name) || providers.iter().any(|(known, _)| known == name));
                    self.text.push_str(&text::provider(&name, from_section));
                    providers.push((name.clone(), from_section));
                    name
                }
            },
        };
        let known = self.applications.iter().flatten().collect::<Vec<_>>();
        let is_taken = |name: &str| has(taken, name) || known.iter().any(|known| known.name == name);
        let name = if is_taken(USUAL_NAME) { free("imported", is_taken) } else { USUAL_NAME.to_owned() };
        self.text.push_str(&text::application(&name, &provider, application));
        let usable = present.is_none() && application.client_id.is_some();
        Some(Named { name, usable, present: false })
    }
}

/// The application of a configuration that is this one: the one that asks for the same, or else, where the file asks for
/// what is usual, any with its client id. One without a client id is any that asks at the same place.
fn find(application: &Application, config: &Config) -> Option<String> {
    let resolved = application.resolved.as_ref()?;
    let names = config.applications.names();
    let of = |name: &&&str| {
        config.applications.get(name).filter(|there| {
            let id = application.client_id.as_ref().is_none_or(|id| there.client_id.eq_ignore_ascii_case(id));
            id && there.token_url == resolved.token_url
        })
    };
    let equal = |name: &&&str| of(name).is_some_and(|there| asks_for(there) == asks_for(resolved));
    let usual = matches!(application.provider, Provider::Preset(_));
    let found = names.iter().find(equal).or_else(|| names.iter().find(|name| usual && of(name).is_some()));
    found.map(|name| (*name).to_owned())
}

/// The permissions without the names of the service, of which Exchange Online has two.
fn asks_for(application: &oxpost_token_store::Application) -> BTreeSet<String> {
    let last = |scope: &String| scope.rsplit('/').next().unwrap_or_default().to_lowercase();
    application.delegated_scopes.iter().map(last).collect()
}

fn provider_name(provider: &file::Provider) -> String {
    let address = provider.authority.as_ref().or(provider.token_url.as_ref());
    let host = address.and_then(|address| url::Url::parse(address).ok()?.host_str().map(str::to_owned));
    provider
        .based_on
        .as_ref()
        .map(|preset| format!("imported-{preset}"))
        .or(host)
        .unwrap_or_else(|| "imported".to_owned())
}

/// Whether a name may be taken in a text. To be wrong here costs a number behind the name.
fn has(text: &str, name: &str) -> bool {
    text.contains(&format!("\"{name}\"")) || text.contains(&format!("'{name}'"))
}

fn free(base: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number: u32| format!("{base}-{number}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or_else(|| base.to_owned())
}
