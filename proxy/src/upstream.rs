//! The login at the mail server: connect, TLS, XOAUTH2, and once more where a second try is worth it.

use std::io;

use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::tap::back_off;
use oxpost_protocol::{RefusalKind, UpstreamDialogue, UpstreamEvent, UpstreamFailure};
use oxpost_token_store::store::Refused;
use oxpost_token_store::{AccessToken, Account, Admitted};
use rustls::pki_types::ServerName;
use tracing::{debug, info};

use crate::account::sasl_user;
use crate::config::{Protocol, Server, ServerTls};
use crate::connect;
use crate::drive::drive_and_note;
use crate::gateway::Gateway;
use crate::login_budget::LoginBudget;
use crate::metered::Metered;
use crate::remedy::{self, Failure, FailureClass};
use crate::speak::Speak;
use crate::stream::Stream;
use crate::tapped::throttled;
use crate::throttle::May;
use crate::trail::{Stage, Trail};

/// A session at the mail server that is ready to be relayed.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: Stream,
    /// What the server has sent behind the login.
    pub unread: Vec<u8>,
    /// What the server can do, for the client's reply.
    pub capabilities: Vec<String>,
}

/// Logs in for an admitted account, within what is left of the budget.
///
/// # Errors
/// [`Failure`] has the words for the client and for the log.
pub async fn login<S: Speak>(
    gateway: &Gateway,
    admitted: &Admitted,
    budget: &LoginBudget,
    trail: &Trail,
) -> Result<Connected, Failure> {
    let account = admitted.account();
    let Some(servers) = gateway.servers.get(&account.application) else {
        return Err(Failure::new(
            RefusalKind::AdministratorMustAct,
            format!(
                "The account {} uses the application {}, which proxy.toml does not have. Add an [[application]] of that name.",
                account.mailbox, account.application
            ),
            "",
        )
        .in_class(FailureClass::TokenNeedsAdministrator));
    };
    let server = servers.of(S::PROTOCOL);
    let trying = async {
        if gateway.throttles.may_log_in(&account.mailbox, S::PROTOCOL, gateway.clock.now()) != May::Now {
            trail.waits(Stage::BackOff, "the end of a back-off");
        }
        let left_alone = gateway.throttles.wait(&account.mailbox, S::PROTOCOL, &gateway.clock).await;
        left_alone.map_err(|left| Failure::throttled(&server.host, left))?;
        with_second_try::<S>(gateway, admitted, server, trail).await
    };
    // One budget for all of it: a client has its own patience, which none of the stages knows.
    let outcome = tokio::time::timeout_at(budget.end(), trying)
        .await
        .unwrap_or_else(|_| Err(Failure::timed_out(&server.host, budget.whole(), trail)));
    trail.ends();
    remember(gateway, account, S::PROTOCOL, outcome.as_ref().err());
    let connected = outcome.map_err(|mut failure| {
        failure.log = format!("{} [waited for: {trail}]", failure.log);
        failure
    })?;
    debug!(waited_for = %trail, "logged in upstream");
    if S::PROTOCOL == Protocol::Smtp {
        gateway.advertised_extensions.learn(&account.application, &connected.capabilities);
    }
    Ok(connected)
}

/// For `oxpost status`: what the server refused and somebody must mend, until it has been mended. What passes by itself, and
/// what is wrong with the token, is not of this kind. It is written beside the login, which waits for no store.
fn remember(gateway: &Gateway, account: &Account, protocol: Protocol, failure: Option<&Failure>) {
    let (mailbox, protocol) = (account.mailbox.clone(), protocol.to_string());
    let refused = match failure {
        None => {
            gateway.accounts.note_accepted(account);
            None
        }
        Some(Failure { refusal, said: Some(said), .. }) if refusal.kind == RefusalKind::AdministratorMustAct => {
            Some(Refused {
                protocol: protocol.clone(),
                text: refusal.text.clone(),
                said: said.clone(),
                at: gateway.clock.now(),
            })
        }
        Some(_) => return,
    };
    gateway.accounts.note_answer(mailbox, protocol, refused);
}

async fn with_second_try<S: Speak>(
    gateway: &Gateway,
    admitted: &Admitted,
    server: &Server,
    trail: &Trail,
) -> Result<Connected, Failure> {
    trail.waits(Stage::Token, A_TOKEN);
    let token = gateway.tokens.access_token(admitted).await.map_err(|error| Failure::token(&error))?;
    let failure = match once::<S>(gateway, admitted, server, &token, trail).await {
        Ok(Ok(connected)) => return Ok(connected),
        Ok(Err(failure)) => failure,
        Err(Unreached { may_pass: true, .. }) => UpstreamFailure::ConnectionClosed,
        Err(Unreached { failure, .. }) => return Err(failure),
    };
    let opened = sasl_user(admitted.account(), S::PROTOCOL);
    let explain = |failure: &UpstreamFailure| Failure::upstream(failure, &server.host, opened);
    let token = match second_try(&failure) {
        SecondTry::No => return Err(explain(&failure)),
        SecondTry::SameToken => token,
        SecondTry::FreshToken => {
            trail.waits(Stage::Token, "another token of the sign-in service");
            gateway.tokens.refused(admitted, &token).await.map_err(|error| Failure::token(&error))?
        }
    };
    info!(reason = explain(&failure).log, "the first upstream login failed; trying once more");
    match once::<S>(gateway, admitted, server, &token, trail).await {
        Ok(outcome) => outcome.map_err(|failure| explain(&failure)),
        Err(Unreached { failure, .. }) => Err(failure),
    }
}

/// Said while the authority is asked, or whoever asks it.
const A_TOKEN: &str = "a token of the sign-in service";

/// What a second attempt needs.
#[derive(Debug, PartialEq, Eq)]
enum SecondTry {
    No,
    SameToken,
    FreshToken,
}

/// Whether another attempt can change anything. A token may have been revoked before its time; a mailbox may be between
/// two servers ("authenticated but not connected" is sometimes that); a front end may have been restarted. A refusal whose
/// reason is known to be a setting stays one.
fn second_try(failure: &UpstreamFailure) -> SecondTry {
    match failure {
        UpstreamFailure::TokenRefused(text) if remedy::is_final(text) => SecondTry::No,
        UpstreamFailure::TokenRefused(_) => SecondTry::FreshToken,
        // Whoever knocks on is throttled for longer.
        UpstreamFailure::NotConnected(text) if back_off(text.as_bytes()).is_some() => SecondTry::No,
        UpstreamFailure::NotConnected(_) | UpstreamFailure::ConnectionClosed => SecondTry::SameToken,
        UpstreamFailure::Unavailable(_) | UpstreamFailure::NotOffered(_) | UpstreamFailure::Protocol(_) => {
            SecondTry::No
        }
    }
}

/// One attempt on one connection.
async fn once<S: Speak>(
    gateway: &Gateway,
    admitted: &Admitted,
    server: &Server,
    token: &AccessToken,
    trail: &Trail,
) -> Result<Result<Connected, UpstreamFailure>, Unreached> {
    let account = admitted.account();
    let dialogue = dialogue::<S>(gateway, account, server, token).map_err(Unreached::for_good)?;
    let outcome = attempt(gateway, server, dialogue, trail).await?;
    // Those who send have a pacing of their own.
    if S::PROTOCOL != Protocol::Smtp
        && let Err(UpstreamFailure::Unavailable(text) | UpstreamFailure::NotConnected(text)) = &outcome
        && let Some(back_off) = back_off(text.as_bytes())
    {
        throttled(gateway, &account.mailbox, S::PROTOCOL, back_off);
    }
    Ok(outcome)
}

/// What is going to be said.
///
/// # Errors
/// The user or the token cannot be sent.
pub fn dialogue<S: Speak>(
    gateway: &Gateway,
    account: &Account,
    server: &Server,
    token: &AccessToken,
) -> Result<S::Upstream, Failure> {
    let login = XOAuth2 { user: sasl_user(account, S::PROTOCOL).to_string(), token: token.secret().clone() };
    S::upstream(gateway, server, &login).map_err(|_| {
        Failure::new(
            RefusalKind::AdministratorMustAct,
            format!("The access token or the name of {} has characters that cannot be sent.", account.mailbox),
            "",
        )
        .in_class(FailureClass::TokenNeedsAdministrator)
    })
}

/// The server was not reached, or TLS with it failed.
#[derive(Debug)]
pub struct Unreached {
    /// In words.
    pub failure: Failure,
    /// The connection was there and was cut: another one may not be.
    pub may_pass: bool,
}

impl Unreached {
    fn for_good(failure: Failure) -> Self {
        Self { failure, may_pass: false }
    }
}

/// Says it, on a connection of its own.
///
/// # Errors
/// Nothing could be said.
pub async fn attempt(
    gateway: &Gateway,
    server: &Server,
    mut dialogue: impl UpstreamDialogue,
    trail: &Trail,
) -> Result<Result<Connected, UpstreamFailure>, Unreached> {
    #[cfg(not(fuzzing))]
    let mut stream = reach(gateway, server, trail).await.map_err(Unreached::for_good)?;
    #[cfg(fuzzing)]
    let mut stream = (gateway.dial)(server);
    if server.tls == ServerTls::Implicit {
        stream = secure(gateway, server, stream, trail).await?;
    }
    loop {
        match drive_and_note(&mut dialogue, &mut stream, |dialogue| trail.waits_for(dialogue.waits_for())).await {
            Ok(UpstreamEvent::StartTls) if matches!(stream, Stream::Tls(_)) => {
                return Ok(Err(UpstreamFailure::Protocol("TLS was asked for within TLS".into())));
            }
            Ok(UpstreamEvent::StartTls) => {
                stream = secure(gateway, server, stream, trail).await?;
                dialogue.tls_started();
            }
            Ok(UpstreamEvent::Authenticated { capabilities }) => {
                return Ok(Ok(Connected { stream, unread: dialogue.into_unread(), capabilities }));
            }
            Ok(UpstreamEvent::Failed(failure)) => return Ok(Err(failure)),
            // A reset counts as a close: it may be a front end that was restarted.
            Err(_) => return Ok(Err(UpstreamFailure::ConnectionClosed)),
        }
    }
}

/// A connection to the first address of the server that answers.
#[cfg_attr(fuzzing, allow(dead_code, reason = "nobody is reached"))]
async fn reach(gateway: &Gateway, server: &Server, trail: &Trail) -> Result<Stream, Failure> {
    let Server { host, port, .. } = server;
    trail.waits_for("the address of its name");
    let unreachable = |error| Failure::unreachable(host, *port, &error);
    let addresses = connect::addresses(&gateway.lookups, host, *port).await.map_err(unreachable)?;
    trail.waits_for("a connection");
    let tcp = connect::first_of(addresses).await.map_err(|error| {
        gateway.lookups.expire(host);
        unreachable(error)
    })?;
    debug!(server = host, address = ?tcp.peer_addr().ok(), "connected upstream");
    Ok(Stream::Plain(tcp))
}

/// Begins TLS on a plain connection.
async fn secure(gateway: &Gateway, server: &Server, stream: Stream, trail: &Trail) -> Result<Stream, Unreached> {
    let Stream::Plain(tcp) = stream else { return Ok(stream) };
    trail.waits_for("TLS");
    let name = ServerName::try_from(server.host.clone()).map_err(|_| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a DNS name or address");
        Unreached::for_good(Failure::tls(&server.host, &error))
    })?;
    let tls = gateway.tls.connect(name, Metered::server(tcp)).await;
    let tls =
        tls.map_err(|error| Unreached { failure: Failure::tls(&server.host, &error), may_pass: was_cut(&error) })?;
    Ok(Stream::Tls(Box::new(tls.into())))
}

/// Whether a connection ended, rather than something being wrong with what was said on it.
fn was_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_is_tried_again() {
        assert_eq!(second_try(&UpstreamFailure::TokenRefused(String::new())), SecondTry::FreshToken);
        let off = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.";
        assert_eq!(second_try(&UpstreamFailure::TokenRefused(off.into())), SecondTry::No);
        assert_eq!(second_try(&UpstreamFailure::NotConnected(String::new())), SecondTry::SameToken);
        let throttled = "Request is throttled. Suggested Backoff Time: 1500 milliseconds";
        assert_eq!(second_try(&UpstreamFailure::NotConnected(throttled.into())), SecondTry::No);
        assert_eq!(second_try(&UpstreamFailure::ConnectionClosed), SecondTry::SameToken);
        assert_eq!(second_try(&UpstreamFailure::Unavailable(String::new())), SecondTry::No);
        let error = |kind| io::Error::new(kind, "");
        assert!(was_cut(&error(io::ErrorKind::ConnectionReset)) && was_cut(&error(io::ErrorKind::UnexpectedEof)));
        assert!(
            !was_cut(&error(io::ErrorKind::InvalidData)),
            "a certificate that is not trusted is not in the next second"
        );
    }
}
