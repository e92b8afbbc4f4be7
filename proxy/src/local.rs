//! The login of a client: drives the local dialogue, and lets the client hear OK only when its upstream session is ready.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use oxpost_protocol::line::REPLY_TEXT_LIMIT;
use oxpost_protocol::{Closed, Dialogue, LocalDialogue, LocalEvent, Offer};
use oxpost_token_store::{Account, Admitted, Denied};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::account;
use crate::config::ListenerTls;
use crate::device::{Device, Seat};
use crate::drive::{drive, say};
use crate::gateway::Gateway;
use crate::guard::{Place, Source};
use crate::hang_up;
use crate::listener::Entry;
use crate::metered::Metered;
use crate::pacing::{self, Sending};
use crate::remedy::Failure;
use crate::speak::Speak;
use crate::stream::Stream;
use crate::upstream::Connected;

/// Who a client is as long as it has not said so.
#[derive(Debug)]
pub struct Visitor<'a> {
    /// What the session is called in the log.
    pub id: &'a str,
    /// Where it comes from.
    pub peer: IpAddr,
    /// The place it has.
    pub place: &'a mut Place,
}

/// A client that has logged in, and its upstream session.
#[derive(Debug)]
pub struct LoggedIn {
    /// Whose login it was.
    pub account: Account,
    /// Where the client is.
    pub from: IpAddr,
    /// The client's connection.
    pub client: Stream,
    /// What the client has sent behind its login.
    pub unread: Vec<u8>,
    /// The session at the mail server.
    pub upstream: Connected,
    /// Its place among the sessions that send, if it is one of those.
    pub sending: Option<Sending>,
    /// What it is, if it is let in without a login.
    pub seat: Option<Seat>,
}

/// Why a connection ended without a login.
#[derive(Debug)]
pub enum NoLogin {
    /// The dialogue ended it.
    Closed(Closed),
    /// The client took too long.
    TimedOut,
    /// The connection broke, or TLS failed.
    Broke(io::Error),
    /// The client went away while it was logged in at the mail server.
    HungUp(io::Error),
}

/// Greets a client and waits for a login that succeeds.
///
/// # Errors
/// The connection ended before that.
pub async fn login<S: Speak>(
    gateway: &Gateway,
    entry: &Entry,
    mut client: Stream,
    mut visitor: Visitor<'_>,
) -> Result<LoggedIn, NoLogin> {
    let mut patience = Patience { deadline: Instant::now() + gateway.limits.login_timeout };
    let from = visitor.peer;
    if entry.listener.tls == ListenerTls::Implicit {
        client = patience.until(start_tls(client, entry.acceptor.as_ref())).await?;
    }
    let offer = Offer {
        start_tls: entry.listener.tls == ListenerTls::StartTls,
        tls_before_login: entry.listener.tls_before_login,
    };
    let mut dialogue = S::local(gateway, offer);
    let device = entry.devices.at(from);
    if device.is_some() {
        dialogue.allow_without_login();
    }
    loop {
        match patience.until(drive(&mut dialogue, &mut client)).await? {
            LocalEvent::StartTls => {
                client = patience.until(start_tls(client, entry.acceptor.as_ref())).await?;
                dialogue.tls_started();
            }
            event @ (LocalEvent::Login(_) | LocalEvent::WithoutLogin) => {
                let began = Instant::now();
                let attempt = match admit(gateway, &mut visitor, event, device).await {
                    Ok((admitted, seat)) => {
                        hang_up::unless_gone(&mut client, &mut dialogue, log_in::<S>(gateway, &admitted))
                            .await
                            .map_err(NoLogin::HungUp)?
                            .map(|done| (done, seat))
                    }
                    Err(failure) => Err(failure),
                };
                patience.deadline += began.elapsed();
                match attempt {
                    Ok(((account, connected, sending), seat)) => {
                        dialogue.accept(&connected.capabilities);
                        patience.until(say(&mut dialogue, &mut client)).await?;
                        visitor.place.let_stay();
                        let rate = seat.as_ref().map(|seat| Arc::clone(&seat.device.rate));
                        return Ok(LoggedIn {
                            account,
                            from,
                            client,
                            unread: dialogue.into_unread(),
                            upstream: connected,
                            sending: sending.map(|sending| sending.held_to(rate)),
                            seat,
                        });
                    }
                    Err(mut failure) => {
                        if failure.is_logged {
                            failure.refusal.text = with_session(&failure.refusal.text, visitor.id);
                        }
                        dialogue.refuse(&failure.refusal);
                    }
                }
            }
            LocalEvent::PassedOver(stray) => {
                if gateway.log_limits.preamble.permit_for(Source::of(from)) {
                    info!(advice = stray.advice(), "connection began with no mail protocol");
                }
            }
            LocalEvent::Closed(why) => {
                // Tell the client that this was the end; it may still be reading our last words, or never read at all.
                let _ = patience.until(tokio::io::AsyncWriteExt::shutdown(&mut client)).await;
                return Err(NoLogin::Closed(why));
            }
        }
    }
}

/// The local half of a login: password, account. It goes to its end also when the client has gone, or somebody could guess
/// and be away before the guess is counted.
async fn admit(
    gateway: &Gateway,
    visitor: &mut Visitor<'_>,
    event: LocalEvent,
    device: Option<&Arc<Device>>,
) -> Result<(Admitted, Option<Seat>), Failure> {
    let admitted = match (event, device) {
        (LocalEvent::Login(login), _) => account::admit(gateway, visitor.peer, &login).await?,
        (_, Some(device)) => {
            let account = &device.config.account;
            let refused = |failure| account::refused(gateway, visitor.peer, failure, account.as_str());
            let seat = device.seat().ok_or_else(|| refused(Failure::too_many_devices(account)))?;
            let admitted = account::vouch(gateway, account).await.map_err(refused)?;
            // It may still have to go for somebody else: it has proved nothing.
            debug!(account = %admitted.account().mailbox, "let in without a login, because of its address");
            return Ok((admitted, Some(seat)));
        }
        (_, None) => {
            let failure = Failure::denied(&Denied::BadCredentials);
            return Err(account::refused(gateway, visitor.peer, failure, "[no login]"));
        }
    };
    // From now on it is nobody's to be let go: who it is was proved, and it is only waiting for the mail server.
    visitor.place.make_known();
    debug!(account = %admitted.account().mailbox, "local login accepted");
    Ok((admitted, None))
}

/// The other half: token, mail server.
async fn log_in<S: Speak>(
    gateway: &Gateway,
    admitted: &Admitted,
) -> Result<(Account, Connected, Option<Sending>), Failure> {
    let mailbox = &admitted.account().mailbox;
    match pacing::log_in::<S>(gateway, admitted).await {
        Ok((connected, sending)) => {
            debug!(account = %mailbox, "logged in");
            Ok((admitted.account().clone(), connected, sending))
        }
        Err(failure) => {
            // Whoever causes it has proved who it is.
            warn!(account = %mailbox, reason = failure.log, "upstream login failed");
            Err(failure.logged(true))
        }
    }
}

/// The sentence with the id that joins what a user reads out to the operator's line. A sentence that is too long for a
/// reply is cut before the id, not with it.
fn with_session(text: &str, id: &str) -> String {
    let id = format!(" [session {id}]");
    let room = REPLY_TEXT_LIMIT.saturating_sub(id.len());
    let mut text: String = text.chars().take(room).collect();
    text.push_str(&id);
    text
}

/// How long a client may still take.
struct Patience {
    deadline: Instant,
}

impl Patience {
    async fn until<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, NoLogin> {
        match timeout_at(self.deadline, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(NoLogin::Broke(error)),
            Err(_) => Err(NoLogin::TimedOut),
        }
    }
}

async fn start_tls(stream: Stream, acceptor: Option<&TlsAcceptor>) -> io::Result<Stream> {
    match (stream, acceptor) {
        (Stream::Plain(tcp), Some(acceptor)) => {
            Ok(Stream::Tls(Box::new(acceptor.accept(Metered::client(tcp)).await?.into())))
        }
        #[cfg(fuzzing)]
        (stream @ Stream::Memory(_), _) => Ok(stream),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "TLS cannot begin here")),
    }
}
