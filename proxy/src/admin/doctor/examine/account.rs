//! One account: its token, and what the token can do.

use std::time::SystemTime;

use oxpost_protocol::UpstreamFailure;
use oxpost_token_store::diagnosis::Shape;
use oxpost_token_store::{AccessToken, Account, Application, Grant, TokenError};

use super::{Open, Round};
use crate::admin::doctor::evaluate::{self, Stage};
use crate::admin::doctor::findings::{AccountFindings, Findings, Login, Refused};
use crate::admin::doctor::mail;
use crate::config::{Protocol, Server};
use crate::context::ServerContext;
use crate::mail_protocol::{Imap, Pop3, Smtp};
use crate::upstream::login::Connected;
use crate::upstream::sasl_user::sasl_user;

impl Round<'_> {
    pub(super) async fn person(&self, open: &Open, account: &Account, findings: &Findings) -> AccountFindings {
        let application = self.config.applications.get(&account.application).map(|application| &**application);
        let state = open.context.runtime.store.token_state(account.token_of()).await.ok();
        let app_only = account.grant == Grant::ClientCredentials;
        let scopes = application.map(|it| if app_only { &it.app_scopes } else { &it.delegated_scopes });
        let mut person = AccountFindings {
            mailbox: account.mailbox.clone(),
            application: account.application.clone(),
            application_fits: fits(account, application),
            app_only,
            scopes: scopes.cloned().unwrap_or_default(),
            sign_in_tried: false,
            signed_in: state.as_ref().is_some_and(|state| state.has_refresh_token),
            signed_in_as: state.and_then(|state| state.signed_in_as),
            smtp_user: account.sender().clone(),
            protocols: self.protocols(),
            servers: self.config.servers.get(&account.application).cloned(),
            token: None,
            lifetime: None,
            permissions: Vec::new(),
            logins: Vec::new(),
            sender: None,
        };
        let Some(application) = application.filter(|_| evaluate::may_ask_for_a_token(&person, findings)) else {
            return person;
        };
        person.sign_in_tried = !app_only && !person.signed_in && application.device_code_url.is_some();
        match token(open, account, application, &person).await {
            Ok(token) => {
                person.smtp_user = sasl_user(account, &token, Protocol::Smtp).clone();
                person.token = Some(Ok(Shape::of(&token)));
                person.lifetime = token.expires_at().duration_since(SystemTime::now()).ok();
                logins(&open.context, &mut person, account, &token, findings).await;
            }
            Err(error) => {
                if person.signed_in && !app_only && evaluate::stage(&error) == Stage::Permission {
                    person.permissions = self.each_permission(open, account, application).await;
                }
                person.token = Some(Err(error));
            }
        }
        person
    }

    async fn each_permission(
        &self,
        open: &Open,
        account: &Account,
        application: &Application,
    ) -> Vec<(Protocol, Result<(), TokenError>)> {
        let mut permissions = Vec::new();
        for protocol in self.protocols() {
            let name = evaluate::permission(protocol, false);
            let scope = application.delegated_scopes.iter().find(|scope| scope.ends_with(name));
            if let Some(scope) = scope {
                permissions.push((protocol, open.examiner.scope_is_granted(account, application, scope).await));
            }
        }
        permissions
    }
}

/// Whether proxy.toml has the application, and it can do what the account asks of it.
fn fits(account: &Account, application: Option<&Application>) -> Result<(), String> {
    let Some(application) = application else {
        return Err(format!(
            "proxy.toml has no application `{}`. Add an [[application]] of that name, or add the account again with another.",
            account.application
        ));
    };
    application.suits(account.grant).map_err(|problem| problem.to_string())
}

async fn token(
    open: &Open,
    account: &Account,
    application: &Application,
    person: &AccountFindings,
) -> Result<AccessToken, TokenError> {
    if person.sign_in_tried {
        // Without a sign-in there is nothing to ask with; a wrong registration shows also at the beginning of one.
        open.examiner.sign_in_may_begin(account, application).await?;
    }
    open.examiner.fresh_token(account).await
}

async fn logins(
    context: &ServerContext,
    person: &mut AccountFindings,
    account: &Account,
    token: &AccessToken,
    findings: &Findings,
) {
    for protocol in person.protocols.clone() {
        let server = person.servers.as_ref().map(|servers| servers.of(protocol).clone());
        let Some(server) = server.filter(|_| evaluate::may_log_in(person, protocol, findings)) else { continue };
        let (login, connected) = log_in_patiently(context, protocol, account, &server, token).await;
        if connected.is_some() {
            // A refusal that `oxpost status` still shows has been fixed. If it cannot be written, a login will do it.
            let _ = context.runtime.store.forget_upstream_refusal(&account.mailbox, &protocol.to_string()).await;
        }
        person.logins.push(login);
        match connected {
            Some(connected) if protocol == Protocol::Smtp => {
                person.sender = Some(mail::ask_for_sender(connected, account, token).await);
            }
            Some(connected) => mail::say_goodbye(protocol, connected).await,
            None => {}
        }
    }
}

/// As a session does: what may be over in a moment is tried once more.
async fn log_in_patiently(
    context: &ServerContext,
    protocol: Protocol,
    account: &Account,
    server: &Server,
    token: &AccessToken,
) -> (Login, Option<Connected>) {
    let first = log_in(context, protocol, account, server, token).await;
    match first.0.outcome {
        Err(Refused::Server(UpstreamFailure::NotConnected(_) | UpstreamFailure::ConnectionClosed, _)) => {
            log_in(context, protocol, account, server, token).await
        }
        _ => first,
    }
}

async fn log_in(
    context: &ServerContext,
    protocol: Protocol,
    account: &Account,
    server: &Server,
    token: &AccessToken,
) -> (Login, Option<Connected>) {
    match protocol {
        Protocol::Imap => Box::pin(mail::log_in::<Imap>(context, account, server, token)).await,
        Protocol::Pop3 => Box::pin(mail::log_in::<Pop3>(context, account, server, token)).await,
        Protocol::Smtp => Box::pin(mail::log_in::<Smtp>(context, account, server, token)).await,
    }
}
