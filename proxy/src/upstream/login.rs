//! The login at the mail server: connect, TLS, XOAUTH2, and once more where a second try is worth it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::tap::back_off;
use oxpost_protocol::{Action, KnownOffer, LoginStep, RefusalKind, UpstreamDialogue, UpstreamEvent, UpstreamFailure};
use oxpost_token_store::store::UpstreamRefusal;
use oxpost_token_store::{AccessToken, Account, Admitted, Mailbox};
use rustls::pki_types::ServerName;
use tracing::{debug, info};

use crate::config::{MailService, Protocol, Server, ServerTls};
use crate::context::ServerContext;
use crate::failure::{self, Asked, Failure, FailureClass};
use crate::limits::back_off::LoginAllowed;
use crate::mail_protocol::MailProtocol;
use crate::monitor::session_monitor::throttled;
use crate::net::drive::drive_and_note;
use crate::net::handshake_limit::HandshakeLimit;
use crate::net::stream::Stream;
use crate::upstream::connect;
use crate::upstream::login_budget::LoginBudget;
use crate::upstream::login_timings::{LoginTimings, Stage};
use crate::upstream::sasl_user::sasl_user;

/// A session at the mail server that is ready to be relayed.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The connection.
    pub stream: Stream,
    /// What the server sent after the login.
    pub unread: Vec<u8>,
    /// What the server can do, for the client's reply.
    pub capabilities: Vec<String>,
    /// What it listed on this connection before the login.
    pub listed_before_login: Option<Arc<[String]>>,
}

/// A login that the server did not accept.
#[derive(Debug)]
pub(crate) struct LoginFailed {
    /// Why.
    pub failure: UpstreamFailure,
    /// At which step.
    pub step: LoginStep,
    /// What was known of the server beforehand may have been wrong, and may be the reason.
    pub known_offer_may_be_wrong: bool,
    /// What it listed on this connection before the login.
    pub listed_before_login: Option<Arc<[String]>>,
}

/// Logs in for an admitted account, within what is left of the budget.
///
/// # Errors
/// [`Failure`] has the texts for the client and for the log.
pub(crate) async fn login<S: MailProtocol>(
    context: &ServerContext,
    admitted: &Admitted,
    budget: &LoginBudget,
    timings: &LoginTimings,
) -> Result<Connected, Failure> {
    let account = admitted.account();
    let Some(servers) = context.settings.servers.get(&account.application) else {
        return Err(Failure::new(
            RefusalKind::AdministratorMustAct,
            format!(
                "The account {} uses the application {}, which is not in proxy.toml. Add an [[application]] with that name.",
                account.mailbox, account.application
            ),
            "",
        )
        .in_class(FailureClass::TokenNeedsAdministrator));
    };
    let (server, service) = (servers.of(S::PROTOCOL), servers.service);
    let trying = async {
        // Sending has its own limiter.
        if S::PROTOCOL != Protocol::Smtp {
            context
                .runtime
                .back_offs
                .read_stored(&context.runtime.store, &account.mailbox, S::PROTOCOL, context.runtime.clock.now())
                .await;
        }
        if context.runtime.back_offs.may_log_in(&account.mailbox, S::PROTOCOL, context.runtime.clock.now())
            != LoginAllowed::Now
        {
            timings.waits(Stage::BackOff, "the end of the back-off");
        }
        let left_alone = context
            .runtime
            .back_offs
            .wait(&context.runtime.store, &account.mailbox, S::PROTOCOL, &context.runtime.clock)
            .await;
        left_alone.map_err(|left| Failure::throttled(&server.host, left))?;
        with_second_try::<S>(context, admitted, (server, service), timings).await
    };
    // One budget for all of it: a client has its own patience, which none of the stages knows.
    let outcome = tokio::time::timeout_at(budget.end(), trying)
        .await
        .unwrap_or_else(|_| Err(Failure::timed_out(&server.host, budget.whole(), timings)));
    timings.ends();
    record_result(context, account, S::PROTOCOL, outcome.as_ref().err());
    let connected = outcome.map_err(|mut failure| {
        failure.log = format!("{} [waited for: {timings}]", failure.log);
        failure
    })?;
    debug!(waited_for = %timings, "logged in upstream");
    if S::PROTOCOL == Protocol::Smtp {
        context.runtime.advertised_extensions.learn(&account.application, &connected.capabilities);
    }
    Ok(connected)
}

/// For `oxpost status`: a refusal of the mail server that an administrator must fix, until a login succeeds. Temporary refusals
/// and token errors are not recorded. It is written in the background; a login does not wait for the store.
fn record_result(context: &ServerContext, account: &Account, protocol: Protocol, failure: Option<&Failure>) {
    let (mailbox, protocol) = (account.mailbox.clone(), protocol.to_string());
    let refused = match failure {
        None => {
            context.runtime.accounts.note_login_accepted(account);
            None
        }
        Some(Failure { is_recorded: true, .. }) => return,
        Some(Failure { refusal, server_reply: Some(server_reply), .. })
            if refusal.kind == RefusalKind::AdministratorMustAct =>
        {
            Some(UpstreamRefusal {
                protocol: protocol.clone(),
                text: refusal.text.clone(),
                said: server_reply.clone(),
                at: context.runtime.clock.now(),
            })
        }
        Some(_) => return,
    };
    context.runtime.accounts.note_upstream_result(mailbox, protocol, refused);
}

async fn with_second_try<S: MailProtocol>(
    context: &ServerContext,
    admitted: &Admitted,
    (server, service): (&Server, MailService),
    timings: &LoginTimings,
) -> Result<Connected, Failure> {
    timings.waits(Stage::Token, A_TOKEN);
    let mut token = context.runtime.tokens.access_token(admitted).await.map_err(|error| Failure::token(&error))?;
    let mut known = context.runtime.login_offers.known(S::PROTOCOL, server);
    let (mut misled_by, mut is_second_try) = (None, false);
    loop {
        let failed = match try_once::<S>(context, admitted, server, &token, &known, timings).await {
            Ok(Ok(connected)) => {
                context.runtime.login_offers.succeeded(S::PROTOCOL, server, &known, misled_by.as_ref());
                if let Some(list) = &connected.listed_before_login {
                    context.runtime.login_offers.listed(server, list);
                }
                return Ok(connected);
            }
            Ok(Err(failed)) => failed,
            Err(Unreachable { may_retry: true, .. }) if !is_second_try => LoginFailed {
                failure: UpstreamFailure::ConnectionClosed,
                step: LoginStep::StartTls,
                known_offer_may_be_wrong: false,
                listed_before_login: None,
            },
            Err(Unreachable { failure, .. }) => return Err(failure),
        };
        if let Some(list) = &failed.listed_before_login {
            context.runtime.login_offers.listed(server, list);
        }
        let opened = sasl_user(admitted.account(), &token, S::PROTOCOL);
        let asked = Asked::of_login(service, S::PROTOCOL, failed.step);
        let failure = Failure::upstream(&failed.failure, asked, &server.host, opened);
        let next = next_attempt(&failed, asked, is_second_try);
        is_second_try |= next.is_second_try;
        match next.with {
            None if matches!(failed.failure, UpstreamFailure::NotConnected(_)) && !is_throttled(&failed.failure) => {
                return Err(not_connected(context, admitted.account(), asked, failure, opened).await);
            }
            None => return Err(failure),
            Some(RetryWith::SameToken) => {}
            Some(RetryWith::FreshToken) => {
                timings.waits(Stage::Token, "a new token from the sign-in service");
                token =
                    context.runtime.tokens.refused(admitted, &token).await.map_err(|error| Failure::token(&error))?;
            }
        }
        if failed.known_offer_may_be_wrong {
            misled_by = Some(failed.failure);
        }
        // The next attempt asks instead of relying on what was known.
        known = KnownOffer::default();
        info!(reason = failure.log, "upstream login attempt failed; retrying");
    }
}

/// What a login waits for while the authority is asked, or another login asks it.
const A_TOKEN: &str = "a token from the sign-in service";

/// What another attempt is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetryWith {
    SameToken,
    FreshToken,
}

/// Whether there is another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NextAttempt {
    with: Option<RetryWith>,
    /// It is the one second try that a login has.
    is_second_try: bool,
}

/// A login has one second try. A login that failed because of what was known beforehand would have succeeded without that, so
/// it is made once more without being counted, unless a second try would be the same.
fn next_attempt(failed: &LoginFailed, asked: Asked, was_second_try: bool) -> NextAttempt {
    match second_try(&failed.failure, asked).filter(|_| !was_second_try) {
        Some(RetryWith::FreshToken) | None if failed.known_offer_may_be_wrong => {
            NextAttempt { with: Some(RetryWith::SameToken), is_second_try: was_second_try }
        }
        with => NextAttempt { with, is_second_try: was_second_try || with.is_some() },
    }
}

/// Whether another attempt can change anything. A token may have been revoked before its time; a mailbox may be between
/// two servers ("authenticated but not connected" is sometimes that); a front end may have been restarted. A refusal whose
/// reason is known to be a setting stays one.
fn second_try(failure: &UpstreamFailure, asked: Asked) -> Option<RetryWith> {
    match failure {
        UpstreamFailure::TokenRefused(text) if failure::is_final(asked, text) => None,
        UpstreamFailure::TokenRefused(_) => Some(RetryWith::FreshToken),
        // Exchange throttles a client for longer that keeps trying.
        UpstreamFailure::NotConnected(_) if is_throttled(failure) => None,
        UpstreamFailure::NotConnected(_) | UpstreamFailure::ConnectionClosed => Some(RetryWith::SameToken),
        UpstreamFailure::Unavailable(_) | UpstreamFailure::NotOffered(_) | UpstreamFailure::Protocol(_) => None,
    }
}

fn is_throttled(failure: &UpstreamFailure) -> bool {
    matches!(failure, UpstreamFailure::NotConnected(text) if back_off(text.as_bytes()).is_some())
}

/// For how long a mailbox that does not open after an accepted login is taken for one that opens again by itself: Exchange answers
/// so for some minutes when it moves a mailbox or is busy.
const NOT_CONNECTED_LASTS: Duration = Duration::from_secs(15 * 60);

/// A mailbox that does not open comes and goes, or stays closed. Since when it is so is the refusal in the store, which all nodes see and
/// which outlives a restart; a login that succeeds removes it.
async fn not_connected(
    context: &ServerContext,
    account: &Account,
    asked: Asked,
    failure: Failure,
    opened: &Mailbox,
) -> Failure {
    let (store, now, protocol) = (&context.runtime.store, context.runtime.clock.now(), asked.protocol.to_string());
    let refusals = store.upstream_refusals(&account.mailbox).await.unwrap_or_default();
    let known =
        refusals.iter().find(|known| known.protocol == protocol && failure.server_reply.as_ref() == Some(&known.said));
    let since = known.map_or(now, |known| known.at.min(now));
    let lasted = now.duration_since(since).unwrap_or_default();
    let failure = if lasted >= NOT_CONNECTED_LASTS {
        failure.lasting_not_connected(asked.service, NOT_CONNECTED_LASTS.as_secs() / 60, opened)
    } else {
        failure
    };
    if known.is_none_or(|known| known.text != failure.refusal.text) {
        let refused = UpstreamRefusal {
            protocol: protocol.clone(),
            text: failure.refusal.text.clone(),
            said: failure.server_reply.clone().unwrap_or_default(),
            at: since,
        };
        context.runtime.accounts.note_upstream_result(account.mailbox.clone(), protocol, Some(refused));
    }
    Failure { is_recorded: true, ..failure }
}

/// One attempt on one connection.
async fn try_once<S: MailProtocol>(
    context: &ServerContext,
    admitted: &Admitted,
    server: &Server,
    token: &AccessToken,
    known: &KnownOffer,
    timings: &LoginTimings,
) -> Result<Result<Connected, LoginFailed>, Unreachable> {
    let account = admitted.account();
    let dialogue = dialogue::<S>(context, account, server, token, known).map_err(Unreachable::for_good)?;
    let outcome = attempt(context, server, dialogue, timings).await?;
    // Sending has its own limiter.
    if S::PROTOCOL != Protocol::Smtp
        && let Err(failed) = &outcome
        && let UpstreamFailure::Unavailable(text) | UpstreamFailure::NotConnected(text) = &failed.failure
        && let Some(back_off) = back_off(text.as_bytes())
    {
        throttled(context, &account.mailbox, S::PROTOCOL, back_off);
    }
    Ok(outcome)
}

/// The dialogue with a server of which this is known.
///
/// # Errors
/// The user or the token cannot be sent.
pub(crate) fn dialogue<S: MailProtocol>(
    context: &ServerContext,
    account: &Account,
    server: &Server,
    token: &AccessToken,
    known: &KnownOffer,
) -> Result<S::Upstream, Failure> {
    let login = XOAuth2 { user: sasl_user(account, token, S::PROTOCOL).to_string(), token: token.secret().clone() };
    S::upstream(context, server, &login, known).map_err(|_| {
        Failure::new(
            RefusalKind::AdministratorMustAct,
            format!("The access token or the name of {} contains characters that cannot be sent.", account.mailbox),
            "",
        )
        .in_class(FailureClass::TokenNeedsAdministrator)
    })
}

/// The server was not reached, or TLS with it failed.
#[derive(Debug)]
pub(crate) struct Unreachable {
    /// The texts for the client and for the log.
    pub failure: Failure,
    /// The connection was there and was cut: another one may not be.
    pub may_retry: bool,
}

impl Unreachable {
    fn for_good(failure: Failure) -> Self {
        Self { failure, may_retry: false }
    }
}

/// Runs the dialogue on a new connection.
///
/// # Errors
/// The server could not be reached, or TLS with it failed.
pub(crate) async fn attempt(
    context: &ServerContext,
    server: &Server,
    mut dialogue: impl UpstreamDialogue,
    timings: &LoginTimings,
) -> Result<Result<Connected, LoginFailed>, Unreachable> {
    #[cfg(not(fuzzing))]
    let mut stream = connect_to(context, server, timings).await.map_err(Unreachable::for_good)?;
    #[cfg(fuzzing)]
    let mut stream = (context.settings.dial)(server);
    if server.tls == ServerTls::Implicit {
        stream = start_tls(context, server, stream, timings).await?;
    }
    let failure = loop {
        match drive_and_note(&mut dialogue, &mut stream, |dialogue| timings.waits_for(dialogue.waits_for())).await {
            Ok(UpstreamEvent::StartTls) if matches!(stream, Stream::Tls(_)) => {
                break UpstreamFailure::Protocol("TLS was asked for within TLS".into());
            }
            Ok(UpstreamEvent::StartTls) => {
                stream = start_tls(context, server, stream, timings).await?;
                dialogue.tls_started();
            }
            Ok(UpstreamEvent::Authenticated { capabilities }) => {
                let listed_before_login = dialogue.listed_before_login().cloned();
                let unread = dialogue.into_unread();
                return Ok(Ok(Connected { stream, unread, capabilities, listed_before_login }));
            }
            Ok(UpstreamEvent::Failed(failure)) => break failure,
            // A reset counts as a close: it may be a front end that was restarted, or the answer to something it does not accept.
            Err(_) => {
                dialogue.receive_end();
                break match dialogue.poll() {
                    Action::Event(UpstreamEvent::Failed(failure)) => failure,
                    _ => UpstreamFailure::ConnectionClosed,
                };
            }
        }
    };
    let listed_before_login = dialogue.listed_before_login().cloned();
    let step = dialogue.step();
    Ok(Err(LoginFailed {
        failure,
        step,
        known_offer_may_be_wrong: dialogue.known_offer_may_be_wrong(),
        listed_before_login,
    }))
}

/// A connection to the first address of the server that answers.
#[cfg_attr(fuzzing, allow(dead_code, reason = "a fuzzer connects to nothing"))]
async fn connect_to(context: &ServerContext, server: &Server, timings: &LoginTimings) -> Result<Stream, Failure> {
    let Server { host, port, .. } = server;
    timings.waits_for("its address from DNS");
    let unreachable = |error| Failure::unreachable(host, *port, &error);
    let addresses = connect::addresses(&context.runtime.lookups, host, *port).await.map_err(unreachable)?;
    timings.waits_for("a connection");
    let tcp = connect::first_of(addresses).await.map_err(|error| {
        context.runtime.lookups.expire(host);
        unreachable(error)
    })?;
    debug!(server = host, address = ?tcp.peer_addr().ok(), "connected upstream");
    Ok(Stream::Plain(tcp))
}

/// Begins TLS on a plain connection.
async fn start_tls(
    context: &ServerContext,
    server: &Server,
    stream: Stream,
    timings: &LoginTimings,
) -> Result<Stream, Unreachable> {
    let Stream::Plain(tcp) = stream else { return Ok(stream) };
    timings.waits_for("TLS");
    let name = ServerName::try_from(server.host.clone()).map_err(|_| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a DNS name or address");
        Unreachable::for_good(Failure::tls(&server.host, &error))
    })?;
    let tls = context.settings.tls.connect(name, HandshakeLimit::server(tcp)).await;
    let tls =
        tls.map_err(|error| Unreachable { failure: Failure::tls(&server.host, &error), may_retry: was_cut(&error) })?;
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
    use crate::failure::Step;

    const ASKED: Asked = Asked { service: MailService::Exchange, protocol: Protocol::Smtp, step: Step::Auth };

    fn next(
        failure: UpstreamFailure,
        known_offer_may_be_wrong: bool,
        was_second_try: bool,
    ) -> (Option<RetryWith>, bool) {
        let failed =
            LoginFailed { failure, step: LoginStep::Authenticate, known_offer_may_be_wrong, listed_before_login: None };
        let next = next_attempt(&failed, ASKED, was_second_try);
        (next.with, next.is_second_try)
    }

    #[test]
    fn retry_without_known_offer_is_not_the_second_try() {
        let refused = || UpstreamFailure::TokenRefused(String::new());
        let not_offered = || UpstreamFailure::NotOffered(String::new());
        assert_eq!(next(refused(), true, false), (Some(RetryWith::SameToken), false));
        assert_eq!(next(not_offered(), true, false), (Some(RetryWith::SameToken), false));
        assert_eq!(next(UpstreamFailure::ConnectionClosed, true, false), (Some(RetryWith::SameToken), true));
        assert_eq!(next(refused(), false, false), (Some(RetryWith::FreshToken), true));
        for failure in [refused(), not_offered(), UpstreamFailure::ConnectionClosed] {
            assert_eq!(next(failure, false, true), (None, true));
        }
        assert_eq!(next(not_offered(), false, false), (None, false));
    }

    #[test]
    fn second_try_only_for_failures_that_can_change() {
        assert_eq!(second_try(&UpstreamFailure::TokenRefused(String::new()), ASKED), Some(RetryWith::FreshToken));
        let off = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.";
        assert_eq!(second_try(&UpstreamFailure::TokenRefused(off.into()), ASKED), None);
        assert_eq!(second_try(&UpstreamFailure::NotConnected(String::new()), ASKED), Some(RetryWith::SameToken));
        let throttled = "Request is throttled. Suggested Backoff Time: 1500 milliseconds";
        assert_eq!(second_try(&UpstreamFailure::NotConnected(throttled.into()), ASKED), None);
        assert_eq!(second_try(&UpstreamFailure::ConnectionClosed, ASKED), Some(RetryWith::SameToken));
        assert_eq!(second_try(&UpstreamFailure::Unavailable(String::new()), ASKED), None);
        let error = |kind| io::Error::new(kind, "");
        assert!(was_cut(&error(io::ErrorKind::ConnectionReset)) && was_cut(&error(io::ErrorKind::UnexpectedEof)));
        assert!(!was_cut(&error(io::ErrorKind::InvalidData)), "an untrusted certificate stays untrusted");
    }
}
