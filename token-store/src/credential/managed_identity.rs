//! Managed identity: the machine's own identity in Azure, for which a service on the machine itself gets tokens
//! (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>,
//! <https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication>).

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use oxpost_protocol::Secret;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    access_token::{LIFETIME_UNKNOWN, LIFETIMES, is_fit_for_a_line},
    application::Application,
    error::{Problem, TokenError, printable},
    http::{
        HttpClient,
        machine_local::{self, Answer},
    },
    store::TokenSet,
    text_file::TextFile,
};

/// Longest key file of Azure Arc's agent (Microsoft's own bound).
const KEY_LIMIT: u64 = 4096;

/// Which service of the machine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A virtual machine in Azure: its instance metadata service.
    AzureVm,
    /// A server elsewhere that was joined to Azure: the agent of Azure Arc, which wants to see that we may read a file.
    AzureArc,
}

impl Machine {
    /// Where its service is.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::AzureVm => "http://169.254.169.254/metadata/identity/oauth2/token",
            Self::AzureArc => "http://127.0.0.1:40342/metadata/identity/oauth2/token",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::AzureVm => "2018-02-01",
            Self::AzureArc => "2020-06-01",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::AzureVm => "instance metadata service of this Azure VM",
            Self::AzureArc => "Azure Arc agent on this machine",
        }
    }
}

/// The identity of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedIdentity {
    machine: Machine,
    endpoint: Url,
    client_id: Option<String>,
    key_folder: PathBuf,
}

/// The address is not one of this machine's own, and tokens do not cross a network in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a managed identity is asked for on the machine itself: at 169.254.169.254, 127.0.0.1 or localhost, by http")]
pub struct NotThisMachine;

impl ManagedIdentity {
    /// The machine's identity, or, on an Azure VM, one of several by its client id. `key_folder` is where the agent of
    /// Azure Arc leaves its key files: no file elsewhere is ever read for it.
    ///
    /// # Errors
    /// The endpoint is on another machine.
    pub fn new(
        machine: Machine,
        endpoint: Url,
        client_id: Option<String>,
        key_folder: PathBuf,
    ) -> Result<Self, NotThisMachine> {
        if machine_local::is_this_machine(&endpoint) {
            Ok(Self { machine, endpoint, client_id, key_folder })
        } else {
            Err(NotThisMachine)
        }
    }

    /// A token for the application's scope.
    pub(crate) async fn token(
        &self,
        http: &HttpClient,
        application: &Application,
        now: SystemTime,
    ) -> Result<TokenSet, TokenError> {
        let url = self.url(&application.app_scopes);
        let mut answer = self.ask(http, &url, None, now).await?;
        if answer.status == 401 && self.machine == Machine::AzureArc {
            let key = self.key(answer.challenge.as_deref())?;
            answer = self.ask(http, &url, Some(&key), now).await?;
        }
        match answer.status {
            200 => read_token(&answer.body, now).ok_or_else(|| self.not_understood()),
            // The service itself asks for patience with these.
            404 | 410 | 429 | 500.. => {
                let what = format!("The {} is busy or not ready (HTTP status {}).", self.machine.name(), answer.status);
                let problem = Problem::retried(what, "").with_detail(&described(&answer.body));
                Err(TokenError::Transient { retry_after: answer.retry_after, problem })
            }
            status => {
                let what = format!("The {} refuses a token (HTTP status {status}).", self.machine.name());
                Err(TokenError::Misconfigured(
                    Problem::new(what, self.registration()).with_detail(&described(&answer.body)),
                ))
            }
        }
    }

    fn url(&self, scopes: &[String]) -> Url {
        // The services know resources only, which a `.default` scope names.
        let resource = scopes.first().map_or("", |scope| scope.strip_suffix("/.default").unwrap_or(scope));
        let mut url = self.endpoint.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("api-version", self.machine.api_version()).append_pair("resource", resource);
        if let Some(client_id) = self.client_id.as_ref().filter(|_| self.machine == Machine::AzureVm) {
            query.append_pair("client_id", client_id);
        }
        drop(query);
        url
    }

    async fn ask(
        &self,
        http: &HttpClient,
        url: &Url,
        key: Option<&Secret>,
        now: SystemTime,
    ) -> Result<Answer, TokenError> {
        machine_local::get(http, url, key, now).await.map_err(|why| {
            let what = format!("The {} {why}.", self.machine.name());
            let remedy = match self.machine {
                Machine::AzureVm => {
                    "If it lasts, check that this machine is a VM in Azure and that no firewall rule blocks \
                     169.254.169.254; elsewhere choose another way in proxy.toml."
                }
                Machine::AzureArc => {
                    "If it lasts, check that the agent runs (`azcmagent show`), or choose another way in \
                     proxy.toml."
                }
            };
            TokenError::Transient { retry_after: None, problem: Problem::retried(what, remedy) }
        })
    }

    /// What stands in the file that the agent names. The file must lie in the agent's own folder, whatever the answer
    /// says: otherwise whoever took the agent's port could have any file of ours sent to them.
    fn key(&self, challenge: Option<&str>) -> Result<Secret, TokenError> {
        let named = challenge.and_then(realm).ok_or_else(|| self.not_understood())?;
        read_key(&self.key_folder, &named).map_err(|why| {
            let what = format!("The key file of the Azure Arc agent cannot be used: {why}.");
            let remedy = "Let the service read it: on Windows add its account to the local group `Hybrid agent extension \
                          applications`, on Linux to the group `himds`; then restart Oxpost.";
            TokenError::Misconfigured(Problem::new(what, remedy))
        })
    }

    fn registration(&self) -> &'static str {
        match self.machine {
            Machine::AzureVm => {
                "Azure portal > Virtual machines > this one > Security > Identity: switch the system-assigned identity on, or add a \
                 user-assigned one and name its client-id in proxy.toml."
            }
            Machine::AzureArc => {
                "See `azcmagent show` on this machine, and Azure portal > Azure Arc > Machines: the machine must be connected."
            }
        }
    }

    fn not_understood(&self) -> TokenError {
        let what = format!("The {} sent an answer that Oxpost cannot read.", self.machine.name());
        let remedy = "If it lasts, check managed-identity in proxy.toml: azure-vm or azure-arc.";
        TokenError::Transient { retry_after: None, problem: Problem::retried(what, remedy) }
    }
}

/// The file that Azure Arc's agent names: `Basic realm=PATH`.
fn realm(challenge: &str) -> Option<PathBuf> {
    let (scheme, rest) = challenge.trim().split_once(' ')?;
    let path = rest.trim().strip_prefix("realm=")?.trim_matches('"');
    (scheme.eq_ignore_ascii_case("Basic") && !path.is_empty()).then(|| PathBuf::from(path))
}

/// Reads the key, after every link and `..` on the way to it is resolved.
fn read_key(folder: &Path, named: &Path) -> Result<Secret, String> {
    let cannot = |path: &Path, error: io::Error| format!("{} cannot be read: {error}", path.display());
    let shown = printable(&named.display().to_string());
    let path = named.canonicalize().map_err(|error| cannot(Path::new(&shown), error))?;
    let folder = folder.canonicalize().map_err(|error| cannot(folder, error))?;
    if path.parent() != Some(&folder) || path.extension().is_none_or(|extension| extension != "key") {
        return Err(format!("{} is no .key file in {}", path.display(), folder.display()));
    }
    let file = TextFile::open(&path).map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    // The agent writes it, and people do not.
    let key = file.bytes(KEY_LIMIT).map_err(|error| error.about("the key").to_string())?;
    if key.is_empty() || !key.reveal().iter().all(u8::is_ascii_graphic) {
        return Err(format!("{} holds no key", path.display()));
    }
    Ok(key)
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// A number, most often as a string.
    expires_in: Option<Value>,
    expires_on: Option<Value>,
}

fn read_token(body: &[u8], now: SystemTime) -> Option<TokenSet> {
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let access_token = Secret::from(granted.access_token);
    let seconds = |value: Option<Value>| match value? {
        Value::String(text) => text.trim().parse::<u64>().ok(),
        number => number.as_u64(),
    };
    let until = |end: u64| UNIX_EPOCH.checked_add(Duration::from_secs(end))?.duration_since(now).ok();
    let lifetime = seconds(granted.expires_in).map(Duration::from_secs);
    let lifetime = lifetime.or_else(|| until(seconds(granted.expires_on)?)).unwrap_or(LIFETIME_UNKNOWN);
    is_fit_for_a_line(access_token.reveal()).then(|| TokenSet {
        access_token,
        lifetime: lifetime.clamp(LIFETIMES.0, LIFETIMES.1),
        refresh_token: None,
        identity: None,
    })
}

/// The error in a refusal, for the log.
fn described(body: &[u8]) -> String {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    format!("{} {}", text("error"), text("error_description"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_the_agents_own_folder_only() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("tokens");
        std::fs::create_dir(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
        write("tokens/good.key", "k3y");
        write("tokens/empty.key", "");
        write("tokens/lines.key", "a\r\nX-More: b");
        write("tokens/long.key", &"x".repeat(4097));
        write("tokens/longest.key", &"x".repeat(4096));
        write("tokens/good.pem", "k3y");
        write("outside.key", "not for you");
        std::fs::create_dir(folder.join("folder.key")).unwrap();
        let read = |name: &str| read_key(&folder, &folder.join(name));
        assert_eq!(read("good.key").unwrap().reveal(), b"k3y");
        assert!(read("longest.key").is_ok());
        for bad in ["empty.key", "lines.key", "long.key", "good.pem", "../outside.key", "none.key", "folder.key", ""] {
            let why = read(bad).unwrap_err();
            assert!(!why.contains("not for you"), "{bad}: {why}");
        }
        assert!(read_key(&folder, &place.path().join("outside.key")).is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place.path().join("outside.key"), folder.join("link.key")).unwrap();
            assert!(read("link.key").is_err(), "a link leads out of the folder");
        }
    }

    #[test]
    fn the_realm_is_a_path() {
        let path = |text: &str| realm(text).map(|path| path.display().to_string());
        assert_eq!(path("Basic realm=C:\\ProgramData\\a.key").as_deref(), Some("C:\\ProgramData\\a.key"));
        assert_eq!(path("basic realm=\"/var/a b.key\"").as_deref(), Some("/var/a b.key"));
        for bad in ["", "Basic", "Basic realm=", "Bearer realm=/a.key", "Basic charset=x"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn lifetimes_come_in_every_form() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let lifetime = |body: &str| read_token(body.as_bytes(), now).map(|token| token.lifetime.as_secs());
        assert_eq!(lifetime(r#"{"access_token":"a","expires_in":"3599"}"#), Some(3599));
        assert_eq!(lifetime(r#"{"access_token":"a","expires_on":"4600"}"#), Some(3600));
        assert_eq!(lifetime(r#"{"access_token":"a","expires_on":1}"#), Some(LIFETIME_UNKNOWN.as_secs()));
        for bad in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a b"}"#, "<html>"] {
            assert_eq!(lifetime(bad), None, "{bad}");
        }
    }

    #[test]
    fn tokens_are_asked_for_on_this_machine_only() {
        let identity = |url: &str| {
            ManagedIdentity::new(Machine::AzureVm, Url::parse(url).unwrap(), Some("me".into()), PathBuf::new())
        };
        for good in [Machine::AzureVm.endpoint(), Machine::AzureArc.endpoint(), "http://localhost:1/x", "http://[::1]/"]
        {
            assert!(identity(good).is_ok(), "{good}");
        }
        for bad in
            ["http://10.0.0.1/", "http://metadata.example/", "http://169.254.1.1/", "https://localhost/", "file:///x"]
        {
            assert!(identity(bad).is_err(), "{bad}");
        }
        let url =
            identity(Machine::AzureVm.endpoint()).unwrap().url(&["https://outlook.office365.com/.default".into()]);
        assert_eq!(
            url.query().unwrap(),
            "api-version=2018-02-01&resource=https%3A%2F%2Foutlook.office365.com&client_id=me"
        );
    }
}
