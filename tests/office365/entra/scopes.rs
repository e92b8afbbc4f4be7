//! Reading `scope`: one resource, its permissions, and the OpenID words in addition to them.

use super::errors::Failure;
use crate::office365::directory::Application;
use crate::office365::tokens::EXCHANGE_APP_ID;

/// The hosts under which Exchange Online is a resource.
const EXCHANGE: [&str; 3] = ["https://outlook.office.com", "https://outlook.office365.com", "https://ps.outlook.com"];
const GRAPH: &str = "https://graph.microsoft.com";
/// Scopes that belong to no resource.
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// The permissions that Exchange Online knows for mail on behalf of a user.
const KNOWN: [&str; 6] =
    ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send", "EWS.AccessAsUser.All", "Mail.Read", "User.Read"];

/// A request for a token for one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scopes {
    /// The audience of the token, written as it was asked for.
    pub(super) resource: String,
    /// The permissions, without the resource in front.
    pub(super) permissions: Vec<String>,
    pub(super) offline: bool,
    pub(super) openid: bool,
}

impl Scopes {
    /// As `scope` is answered.
    pub(super) fn granted(&self) -> String {
        let full: Vec<String> = self.permissions.iter().map(|name| format!("{}/{name}", self.resource)).collect();
        full.join(" ")
    }

    pub(super) fn default_only(&self) -> bool {
        self.permissions == [".default"]
    }
}

/// Reads a `scope`; bare names belong to Graph, as they do in Entra.
pub(super) fn read(text: &str) -> Result<Scopes, Failure> {
    let mut scopes = Scopes { resource: String::new(), permissions: Vec::new(), offline: false, openid: false };
    for word in text.split_ascii_whitespace() {
        if OPENID.contains(&word) {
            scopes.offline |= word == "offline_access";
            scopes.openid |= word == "openid";
            continue;
        }
        let (resource, permission) = match word.rsplit_once('/') {
            Some((resource, permission)) => (resource.trim_end_matches('/'), permission),
            None => (GRAPH, word),
        };
        if !scopes.resource.is_empty() && scopes.resource != resource {
            return Err(Failure::new(70_011).value(text));
        }
        resource.clone_into(&mut scopes.resource);
        scopes.permissions.push(permission.to_owned());
    }
    if scopes.resource.is_empty() {
        GRAPH.clone_into(&mut scopes.resource);
        scopes.permissions.push("User.Read".to_owned());
    }
    Ok(scopes)
}

/// Narrows a request on behalf of a user to what the application may have, with `.default` expanded.
pub(super) fn delegated(mut scopes: Scopes, application: &Application) -> Result<Scopes, Failure> {
    let failure = |code| Failure::new(code).app(&application.client_id).value(&scopes.resource);
    if scopes.resource == GRAPH {
        return Ok(scopes);
    }
    if !is_exchange(&scopes.resource) {
        return Err(failure(500_011));
    }
    if application.scopes.is_empty() {
        return Err(failure(650_057));
    }
    if scopes.default_only() {
        scopes.permissions.clone_from(&application.scopes);
        return Ok(scopes);
    }
    for permission in &scopes.permissions {
        if !KNOWN.contains(&permission.as_str()) {
            return Err(Failure::new(70_011).value(&format!("{}/{permission}", scopes.resource)));
        }
        if !application.scopes.contains(permission) {
            return Err(failure(65_001));
        }
    }
    Ok(scopes)
}

/// The same without a user: only `.default` may be asked for, and the app roles are what it stands for.
pub(super) fn app_only(scopes: Scopes, application: &Application) -> Result<Scopes, Failure> {
    if !scopes.default_only() {
        return Err(Failure::new(70_011).value(&scopes.granted()));
    }
    if scopes.resource != GRAPH && !is_exchange(&scopes.resource) {
        return Err(Failure::new(500_011).app(&application.client_id).value(&scopes.resource));
    }
    Ok(scopes)
}

fn is_exchange(resource: &str) -> bool {
    EXCHANGE.contains(&resource) || resource == EXCHANGE_APP_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_one_resource() {
        let scopes = read(
            "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid https://outlook.office.com/SMTP.Send",
        );
        let scopes = scopes.unwrap();
        assert_eq!(scopes.resource, "https://outlook.office.com");
        assert_eq!(scopes.permissions, ["IMAP.AccessAsUser.All", "SMTP.Send"]);
        assert!(scopes.offline && scopes.openid);
        assert_eq!(read("IMAP.AccessAsUser.All").unwrap().resource, GRAPH);
        assert_eq!(read("https://outlook.office.com/SMTP.Send User.Read").unwrap_err().code, 70_011);
    }

    #[test]
    fn an_application_gets_only_what_it_registered() {
        let application = Application::public("app").delegated(&["IMAP.AccessAsUser.All"]);
        let ask = |text: &str| delegated(read(text).unwrap(), &application).map_err(|failure| failure.code);
        assert_eq!(ask("https://outlook.office.com/.default").unwrap().permissions, ["IMAP.AccessAsUser.All"]);
        assert_eq!(ask("https://outlook.office.com/SMTP.Send").unwrap_err(), 65_001);
        assert_eq!(ask("https://outlook.office.com/Imap.All").unwrap_err(), 70_011);
        assert_eq!(ask("https://outlook.example/IMAP.AccessAsUser.All").unwrap_err(), 500_011);
        let none = Application::public("app").delegated(&[]);
        let refused = delegated(read("https://outlook.office.com/SMTP.Send").unwrap(), &none);
        assert_eq!(refused.unwrap_err().code, 650_057);
    }
}
