//! What `oxpost doctor` asks the authority: now, whatever is stored, one thing at a time.
//!
//! Besides [`Accounts::admit`](crate::Accounts::admit) this is the only way to a token. It is for a person at the command
//! line, who has the store, its key and the configuration in hand; nothing that listens may have an [`Examiner`].

mod shape;

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use url::Url;

pub use self::shape::{Claims, Shape};
use crate::{
    account::{Account, Grant},
    application::{Application, Applications},
    clock::SharedClock,
    credential::{Credential, Proofs, prove},
    entra_codes::{Names, Refusal, classify},
    error::TokenError,
    http::HttpClient,
    sign_in::begin_device_sign_in,
    store::Store,
    tokens::{AccessToken, Tokens},
};

/// Asks the authority on behalf of a person at the command line.
pub struct Examiner {
    store: Store,
    applications: Applications,
    http: HttpClient,
    clock: SharedClock,
}

/// What the authority says about a tenant (OpenID Connect Discovery 1.0, 4).
#[derive(Clone, Debug)]
pub struct Metadata {
    /// How long the answer took.
    pub took: Duration,
    /// The authority's clock less ours, in seconds. None: its answer has no date.
    pub skew: Option<i64>,
    /// What it said.
    pub answer: MetadataAnswer,
}

/// The kinds of answer to a request for a tenant's metadata.
#[derive(Clone, Debug)]
pub enum MetadataAnswer {
    /// The tenant exists.
    Tenant,
    /// It does not, or the authority is busy.
    Refused(TokenError),
    /// It is not one of Microsoft's, and has no tenants to ask about.
    NoTenants,
    /// What answers is no authority; the HTTP status.
    Nonsense(u16),
}

impl Examiner {
    /// From what a person at the command line has.
    pub fn new(store: Store, applications: Applications, http: HttpClient, clock: SharedClock) -> Self {
        Self { store, applications, http, clock }
    }

    /// Asks for a new access token and keeps it, as a refresh does.
    ///
    /// # Errors
    /// Why there is none, also if the stored one still lives.
    pub async fn fresh_token(&self, account: &Account) -> Result<AccessToken, TokenError> {
        self.tokens_of_its_own().ask_now(account).await
    }

    /// So that neither a pause, nor an open circuit, nor a request of an earlier round is in the way.
    fn tokens_of_its_own(&self) -> Tokens {
        let (store, http, clock) = (self.store.clone(), self.http.clone(), self.clock.clone());
        Tokens::for_diagnosis(store, self.applications.clone(), http, clock)
    }

    /// Whether one scope alone is granted to a person's account. The access token is dropped; a refresh token that comes
    /// with it is kept.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn scope_is_granted(
        &self,
        account: &Account,
        application: &Application,
        scope: &str,
    ) -> Result<(), TokenError> {
        let account = &account.token_account();
        let alone = Application {
            delegated_scopes: vec![scope.to_owned(), "offline_access".to_owned()],
            ..application.clone()
        };
        self.tokens_of_its_own().probe_scopes(account, &alone).await
    }

    /// By what the application can prove itself now; none for a public client, which proves nothing.
    ///
    /// # Errors
    /// It cannot.
    pub async fn proof(&self, application: &Application) -> Result<Option<&'static str>, TokenError> {
        match &application.credential {
            Credential::Secret => {
                let proofs = Proofs::of(application, &self.store, self.clock.now()).await?;
                Ok((!proofs.is_empty()).then(|| application.credential.name()))
            }
            // The machine's service is asked for the token itself.
            Credential::ManagedIdentity(_) => Ok(Some(application.credential.name())),
            Credential::Certificate(_) | Credential::Federated(_) => {
                let proofs = Proofs::of(application, &self.store, self.clock.now()).await?;
                let proof = proofs.current.or(proofs.next);
                prove(application, proof.as_ref(), &mut Vec::new(), self.clock.now()).await?;
                Ok(Some(application.credential.name()))
            }
        }
    }

    /// Whether the authority would let a person begin to sign in: the question that needs no token. The code it gives is
    /// left to expire. An authority without device codes is not asked.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn sign_in_may_begin(&self, account: &Account, application: &Application) -> Result<(), TokenError> {
        if application.device_code_url.is_none() {
            return Ok(());
        }
        begin_device_sign_in(&self.http, &self.store, application, account, &self.clock).await.map(drop)
    }
}

/// Asks the authority about the application's tenant, without a secret.
///
/// # Errors
/// The authority cannot be reached; why, in words.
pub async fn metadata(http: &HttpClient, clock: &SharedClock, application: &Application) -> Result<Metadata, String> {
    let url = metadata_url(&application.token_url);
    let begun = Instant::now();
    let got = http.get(url.as_ref().unwrap_or(&application.token_url)).await.map_err(|failure| failure.to_string())?;
    let answer = match url {
        Some(_) => read_metadata(got.status, &got.body, application),
        None => MetadataAnswer::NoTenants,
    };
    let skew = got.date.map(|date| seconds_between(clock.now(), date));
    Ok(Metadata { took: begun.elapsed(), skew, answer })
}

/// `…/{tenant}/oauth2/v2.0/token` has its metadata at `…/{tenant}/v2.0/.well-known/openid-configuration`.
fn metadata_url(token_url: &Url) -> Option<Url> {
    let base =
        token_url.path().strip_suffix("/oauth2/v2.0/token").or(token_url.path().strip_suffix("/oauth2/token"))?;
    let mut url = token_url.clone();
    url.set_path(&format!("{base}/v2.0/.well-known/openid-configuration"));
    Some(url)
}

fn read_metadata(status: u16, body: &[u8], application: &Application) -> MetadataAnswer {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if status == 200 && text("issuer").is_some() {
        return MetadataAnswer::Tenant;
    }
    let busy = status == 429 || status >= 500;
    let error = text("error").or(busy.then_some("temporarily_unavailable"));
    let Some(error) = error else { return MetadataAnswer::Nonsense(status) };
    let description = text("error_description").unwrap_or_default();
    let names = Names::of(application, "ADDRESS", Grant::SignIn);
    MetadataAnswer::Refused(classify(&Refusal { error, description, ..Refusal::default() }, &names))
}

fn seconds_between(ours: SystemTime, theirs: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match theirs.duration_since(ours) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_url_is_derived_from_the_token_endpoint() {
        let url = |text: &str| metadata_url(&Url::parse(text).unwrap()).map(|url| url.to_string());
        assert_eq!(
            url("https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token").unwrap(),
            "https://login.microsoftonline.com/contoso.com/v2.0/.well-known/openid-configuration"
        );
        assert_eq!(url("https://oauth2.googleapis.com/token"), None);
    }

    #[test]
    fn clocks_are_compared_both_ways() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(seconds_between(now, now + Duration::from_secs(400)), 400);
        assert_eq!(seconds_between(now, now - Duration::from_secs(7)), -7);
    }
}
