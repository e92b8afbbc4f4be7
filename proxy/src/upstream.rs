//! The login at the mail server: connect, TLS, XOAUTH2, and once more where a second try is worth it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{RefusalKind, UpstreamDialogue, UpstreamEvent, UpstreamFailure};
use oxpost_token_store::{AccessToken, Account, Admitted};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tracing::{debug, info};

use crate::account::sasl_user;
use crate::config::{Protocol, Server, ServerTls};
use crate::drive::drive;
use crate::gateway::Gateway;
use crate::metered::Metered;
use crate::remedy::{self, Failure};
use crate::speak::Speak;
use crate::stream::Stream;

/// How long one address may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Logs in for an admitted account, within the configured time.
///
/// # Errors
/// [`Failure`] has the words for the client and for the log.
pub async fn login<S: Speak>(gateway: &Gateway, admitted: &Admitted) -> Result<Connected, Failure> {
    let account = admitted.account();
    let Some(servers) = gateway.servers.get(&account.application) else {
        return Err(Failure::new(
            RefusalKind::AdministratorMustAct,
            format!(
                "The account {} uses the application {}, which proxy.toml does not have. Add an [[application]] of that name.",
                account.mailbox, account.application
            ),
            "",
        ));
    };
    let server = servers.of(S::PROTOCOL);
    let bound = gateway.limits.upstream_timeout;
    let connected = tokio::time::timeout(bound, with_second_try::<S>(gateway, admitted, server))
        .await
        .unwrap_or_else(|_| Err(Failure::timed_out(&server.host, bound)))?;
    if S::PROTOCOL == Protocol::Smtp {
        gateway.smtp_offer.learn(server, &connected.capabilities);
    }
    Ok(connected)
}

async fn with_second_try<S: Speak>(
    gateway: &Gateway,
    admitted: &Admitted,
    server: &Server,
) -> Result<Connected, Failure> {
    let token = gateway.tokens.access_token(admitted).await.map_err(|error| Failure::token(&error))?;
    let failure = match once::<S>(gateway, admitted, server, &token).await? {
        Ok(connected) => return Ok(connected),
        Err(failure) => failure,
    };
    let opened = sasl_user(admitted.account(), S::PROTOCOL);
    let explain = |failure: &UpstreamFailure| Failure::upstream(failure, &server.host, opened);
    let token = match second_try(&failure) {
        SecondTry::No => return Err(explain(&failure)),
        SecondTry::SameToken => token,
        SecondTry::FreshToken => {
            gateway.tokens.refused(admitted, &token).await.map_err(|error| Failure::token(&error))?
        }
    };
    info!(reason = explain(&failure).log, "the first upstream login failed; trying once more");
    once::<S>(gateway, admitted, server, &token).await?.map_err(|failure| explain(&failure))
}

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
        UpstreamFailure::NotConnected(_) | UpstreamFailure::ConnectionClosed => SecondTry::SameToken,
        UpstreamFailure::Unavailable(_) | UpstreamFailure::NotOffered(_) | UpstreamFailure::Protocol(_) => {
            SecondTry::No
        }
    }
}

/// One attempt on one connection. The outer error is one that no second attempt mends.
async fn once<S: Speak>(
    gateway: &Gateway,
    admitted: &Admitted,
    server: &Server,
    token: &AccessToken,
) -> Result<Result<Connected, UpstreamFailure>, Failure> {
    attempt(gateway, server, dialogue::<S>(gateway, admitted.account(), server, token)?).await
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
    })
}

/// Says it, on a connection of its own.
///
/// # Errors
/// The server was not reached, or TLS with it failed: no second attempt mends that.
pub async fn attempt(
    gateway: &Gateway,
    server: &Server,
    mut dialogue: impl UpstreamDialogue,
) -> Result<Result<Connected, UpstreamFailure>, Failure> {
    let tcp = connect(server).await.map_err(|error| Failure::unreachable(&server.host, server.port, &error))?;
    debug!(server = server.host, address = ?tcp.peer_addr().ok(), "connected upstream");
    let mut stream = match server.tls {
        ServerTls::Implicit => secure(gateway, server, tcp).await?,
        ServerTls::StartTls => Stream::Plain(tcp),
    };
    loop {
        match drive(&mut dialogue, &mut stream).await {
            Ok(UpstreamEvent::StartTls) => match stream {
                Stream::Plain(tcp) => {
                    stream = secure(gateway, server, tcp).await?;
                    dialogue.tls_started();
                }
                Stream::Tls(_) => return Ok(Err(UpstreamFailure::Protocol("TLS was asked for within TLS".into()))),
            },
            Ok(UpstreamEvent::Authenticated { capabilities }) => {
                return Ok(Ok(Connected { stream, unread: dialogue.into_unread(), capabilities }));
            }
            Ok(UpstreamEvent::Failed(failure)) => return Ok(Err(failure)),
            // A reset counts as a close: it may be a front end that was restarted.
            Err(_) => return Ok(Err(UpstreamFailure::ConnectionClosed)),
        }
    }
}

async fn secure(gateway: &Gateway, server: &Server, tcp: TcpStream) -> Result<Stream, Failure> {
    let name = ServerName::try_from(server.host.clone()).map_err(|_| {
        Failure::tls(&server.host, &io::Error::new(io::ErrorKind::InvalidInput, "not a DNS name or address"))
    })?;
    let tls = gateway.tls.connect(name, Metered::server(tcp)).await;
    Ok(Stream::Tls(Box::new(tls.map_err(|error| Failure::tls(&server.host, &error))?.into())))
}

/// Connects to the first address of the server that answers.
async fn connect(server: &Server) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((server.host.as_str(), server.port)).await? {
        match connect_to(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to one address.
///
/// # Errors
/// It does not answer, or not in time.
pub async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    crate::listener::tune(&tcp)?;
    Ok(tcp)
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
        assert_eq!(second_try(&UpstreamFailure::ConnectionClosed), SecondTry::SameToken);
        assert_eq!(second_try(&UpstreamFailure::Unavailable(String::new())), SecondTry::No);
    }
}
