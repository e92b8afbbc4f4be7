//! The login of a client: drives the local dialogue, and lets the client hear OK only when its upstream session is ready.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oxpost_protocol::line::REPLY_TEXT_LIMIT;
use oxpost_protocol::{Dialogue as _, LocalDialogue, LocalEvent, Offer};
use oxpost_token_store::{Account, Admitted, Denied, Source};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::config::ListenerTls;
use crate::context::ServerContext;
use crate::failure::Failure;
use crate::limits::close_request::{CloseReason, CloseRequest};
use crate::limits::connection_slots::{Proof, Slot};
use crate::limits::send_limiter::Sending;
use crate::mail_protocol::MailProtocol;
use crate::net::drive::{Driven, LAST_WORDS, drive_until, say};
use crate::net::handshake_limit::Metered;
use crate::net::stream::{Stream, poll_discard};
use crate::server::authenticate;
use crate::server::device::{Device, Seat};
use crate::server::disconnect;
use crate::server::ended_before_login::FailedHandshake;
use crate::server::ended_before_login::NoLogin;
use crate::server::listener_context::ListenerContext;
use crate::upstream::login::Connected;
use crate::upstream::paced_login;

/// Who a client is as long as it has not said so.
#[derive(Debug)]
pub(crate) struct Visitor<'a> {
    /// What the session is called in the log.
    pub id: &'a str,
    /// Where it comes from.
    pub peer: IpAddr,
    /// Its connection slot.
    pub slot: &'a Slot,
    /// Is set when it has sent anything.
    pub has_spoken: &'a AtomicBool,
}

/// A client that has logged in, and its upstream session.
#[derive(Debug)]
pub(crate) struct LoggedIn {
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

/// Greets a client and waits for a login that succeeds.
///
/// # Errors
/// The connection ended before that; the client was told why in its protocol's words.
pub(crate) async fn login<S: MailProtocol>(
    context: &ServerContext,
    entry: &ListenerContext,
    client: Stream,
    visitor: Visitor<'_>,
) -> Result<LoggedIn, NoLogin> {
    let from = visitor.peer;
    let offer = Offer {
        start_tls: entry.listener.tls == ListenerTls::StartTls,
        tls_before_login: entry.listener.tls_before_login,
    };
    let mut conversation = Conversation {
        dialogue: S::local(context, offer),
        stream: Some(client),
        ends: Ends {
            deadline: Instant::now() + context.settings.limits.login_timeout,
            request: visitor.slot.close_request().clone(),
        },
    };
    match converse::<S>(context, entry, &visitor, &mut conversation).await {
        Ok((account, connected, sending, seat)) => {
            let Conversation { dialogue, stream, .. } = conversation;
            let client = stream.ok_or_else(|| NoLogin::Broke(io::ErrorKind::NotConnected.into()))?;
            let rate = seat.as_ref().map(|seat| Arc::clone(&seat.device.rate));
            Ok(LoggedIn {
                account,
                from,
                client,
                unread: dialogue.into_unread(),
                upstream: connected,
                sending: sending.map(|sending| sending.held_to(rate)),
                seat,
            })
        }
        Err(why) => {
            if let Some(text) = why.last_words() {
                conversation.say_goodbye(text, !matches!(why, NoLogin::Asked(CloseReason::Evicted))).await;
            }
            Err(why)
        }
    }
}

/// An accepted login: account, upstream session, its place among those who send, and its device permit.
type Accepted = (Account, Connected, Option<Sending>, Option<Seat>);

async fn converse<S: MailProtocol>(
    context: &ServerContext,
    entry: &ListenerContext,
    visitor: &Visitor<'_>,
    conversation: &mut Conversation<S::Local>,
) -> Result<Accepted, NoLogin> {
    if entry.listener.tls == ListenerTls::Implicit {
        conversation.start_tls(entry.acceptor.as_ref()).await?;
    }
    let device = entry.devices.at(visitor.peer);
    if device.is_some() {
        conversation.dialogue.allow_without_login();
    }
    loop {
        let event = conversation.next().await;
        visitor.has_spoken.fetch_or(conversation.dialogue.has_spoken(), Ordering::Relaxed);
        match event? {
            LocalEvent::StartTls => {
                conversation.start_tls(entry.acceptor.as_ref()).await?;
                conversation.dialogue.tls_started();
            }
            event @ (LocalEvent::Login(_) | LocalEvent::WithoutLogin) => {
                let began = Instant::now();
                let attempt = match conversation.unless_asked(admit(context, visitor, event, device)).await? {
                    Ok((admitted, seat)) => {
                        let attempt = conversation.unless_gone(log_in::<S>(context, &admitted)).await?;
                        attempt.map(|(account, connected, sending)| (account, connected, sending, seat))
                    }
                    Err(failure) => Err(failure),
                };
                conversation.ends.deadline += began.elapsed();
                match attempt {
                    // Whoever was evicted while the mail server answered is not logged in.
                    Ok(_) if !visitor.slot.accept_login() => return Err(NoLogin::Asked(CloseReason::Evicted)),
                    Ok(accepted) => {
                        conversation.accept(&accepted.1.capabilities).await?;
                        return Ok(accepted);
                    }
                    Err(mut failure) => {
                        visitor.slot.fail_login();
                        if failure.is_logged {
                            failure.refusal.text = with_session(&failure.refusal.text, visitor.id);
                        }
                        conversation.dialogue.refuse(&failure.refusal);
                    }
                }
            }
            LocalEvent::PassedOver(stray) => {
                context.runtime.log_limits.log_preamble(Source::of(visitor.peer), stray);
            }
            LocalEvent::Closed(why) => {
                conversation.shut_down().await;
                return Err(NoLogin::Closed(why));
            }
        }
    }
}

/// The local half of a login: password, account, and whether it may have one more session. It goes to its end also when the
/// client has gone, or somebody could guess and be away before the guess is counted.
async fn admit(
    context: &ServerContext,
    visitor: &Visitor<'_>,
    event: LocalEvent,
    device: Option<&Arc<Device>>,
) -> Result<(Admitted, Option<Seat>), Failure> {
    let (admitted, seat, proof) = match (event, device) {
        (LocalEvent::Login(login), _) => {
            let admitted = authenticate::admit(context, visitor.peer, &login).await?;
            debug!(account = %admitted.account().mailbox, "local login accepted");
            (admitted, None, Proof::Password)
        }
        (_, Some(device)) => {
            let account = &device.config.account;
            let refused = |failure| authenticate::refused(context, visitor.peer, failure, account.as_str());
            let seat = device.seat().ok_or_else(|| refused(Failure::too_many_devices(account)))?;
            let admitted = authenticate::vouch(context, account).await.map_err(refused)?;
            debug!(account = %admitted.account().mailbox, "let in without a login, because of its address");
            (admitted, Some(seat), Proof::Network)
        }
        (_, None) => {
            let failure = Failure::denied(&Denied::BadCredentials);
            return Err(authenticate::refused(context, visitor.peer, failure, "[no login]"));
        }
    };
    let account = admitted.account();
    visitor.slot.begin_login(account, proof).map_err(|reached| {
        let failure = Failure::session_limit(&reached);
        let is_logged = context.runtime.log_limits.session_limit.permit_for(reached.limit);
        if is_logged {
            warn!(account = %account.mailbox, limit = reached.limit.key(), reason = failure.log, "login refused");
        }
        failure.logged(is_logged)
    })?;
    Ok((admitted, seat))
}

/// The other half: token, mail server.
async fn log_in<S: MailProtocol>(
    context: &ServerContext,
    admitted: &Admitted,
) -> Result<(Account, Connected, Option<Sending>), Failure> {
    let mailbox = &admitted.account().mailbox;
    match paced_login::log_in::<S>(context, admitted).await {
        Ok((connected, sending)) => {
            debug!(account = %mailbox, "logged in");
            Ok((admitted.account().clone(), connected, sending))
        }
        Err(failure) => {
            // Whoever causes it has proved who it is.
            let class = failure.class.map(tracing::field::display);
            warn!(account = %mailbox, class, reason = failure.log, "upstream login failed");
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

/// What is said with a client before its login, and what may end it.
struct Conversation<D> {
    dialogue: D,
    /// None while TLS begins, and for good if it fails or the client does not take what is sent: nothing can be said then.
    stream: Option<Stream>,
    ends: Ends,
}

/// What may end a conversation.
struct Ends {
    /// When the client has taken too long. What the mail server takes is not counted.
    deadline: Instant,
    request: CloseRequest,
}

impl Ends {
    async fn come(&mut self) -> NoLogin {
        tokio::select! {
            biased;
            reason = self.request.wait() => NoLogin::Asked(reason),
            () = sleep_until(self.deadline) => NoLogin::TimedOut,
        }
    }
}

impl<D: LocalDialogue> Conversation<D> {
    async fn start_tls(&mut self, acceptor: Option<&TlsAcceptor>) -> Result<(), NoLogin> {
        let stream = self.stream.take().ok_or_else(not_connected)?;
        let secured = tokio::select! {
            biased;
            why = self.ends.come() => return Err(why),
            secured = start_tls(stream, acceptor) => secured,
        };
        self.stream = Some(secured.map_err(NoLogin::Broke)?);
        Ok(())
    }

    /// The next thing that the dialogue reports.
    async fn next(&mut self) -> Result<LocalEvent, NoLogin> {
        let stream = self.stream.as_mut().ok_or_else(not_connected)?;
        match drive_until(&mut self.dialogue, stream, self.ends.come()).await.map_err(NoLogin::Broke)? {
            Driven::Event(event) => Ok(event),
            Driven::Interrupted(why) => Err(why),
            Driven::Stuck(why) => {
                self.stream = None;
                Err(why)
            }
        }
    }

    /// Does `work`, unless the connection is asked to close meanwhile.
    async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Result<T, NoLogin> {
        tokio::select! {
            biased;
            reason = self.ends.request.wait() => Err(NoLogin::Asked(reason)),
            done = work => Ok(done),
        }
    }

    /// Does `work`, unless the connection is asked to close meanwhile, or the client goes away.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, NoLogin> {
        let stream = self.stream.as_mut().ok_or_else(not_connected)?;
        tokio::select! {
            biased;
            reason = self.ends.request.wait() => Err(NoLogin::Asked(reason)),
            done = disconnect::unless_gone(stream, &mut self.dialogue, work) => done.map_err(NoLogin::HungUp),
        }
    }

    /// Tells the client that it is logged in. Whoever asks it to close meanwhile is heard by what follows.
    async fn accept(&mut self, capabilities: &[String]) -> Result<(), NoLogin> {
        self.dialogue.accept(capabilities);
        let stream = self.stream.as_mut().ok_or_else(not_connected)?;
        match timeout_at(self.ends.deadline, say(&mut self.dialogue, stream)).await {
            Ok(said) => said.map(drop).map_err(NoLogin::Broke),
            Err(_) => Err(NoLogin::TimedOut),
        }
    }

    /// Tells the client that this was the end; it may still be reading our last words, or never read at all.
    async fn shut_down(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = timeout(LAST_WORDS, stream.shutdown()).await;
        }
    }

    /// Ends the conversation with these words. If there is time for that, the client may close first: closing a socket with
    /// unread bytes in it resets the connection, and the reset could overtake the words.
    async fn say_goodbye(mut self, text: &str, has_time: bool) {
        let Some(mut stream) = self.stream else { return };
        self.dialogue.say_goodbye(text);
        let _ = timeout(LAST_WORDS, async {
            say(&mut self.dialogue, &mut stream).await?;
            stream.shutdown().await?;
            while has_time && poll_fn(|cx| poll_discard(&mut stream, cx)).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }
}

fn not_connected() -> NoLogin {
    NoLogin::Broke(io::ErrorKind::NotConnected.into())
}

impl NoLogin {
    /// What the client is told, if the dialogue has not told it already.
    fn last_words(&self) -> Option<&'static str> {
        match self {
            Self::Asked(reason) => Some(reason.text()),
            Self::TimedOut => Some("No login within the time allowed"),
            Self::Closed(_) | Self::Broke(_) | Self::HungUp(_) => None,
        }
    }
}

async fn start_tls(stream: Stream, acceptor: Option<&TlsAcceptor>) -> io::Result<Stream> {
    match (stream, acceptor) {
        (Stream::Plain(tcp), Some(acceptor)) => {
            let accepted = acceptor.accept(Metered::client(tcp)).into_fallible().await;
            let failed = |(error, metered): (_, Metered)| FailedHandshake { has_begun: metered.has_received(), error };
            Ok(Stream::Tls(Box::new(accepted.map_err(failed)?.into())))
        }
        #[cfg(any(test, fuzzing))]
        (stream @ Stream::Memory(_), _) => Ok(stream),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "TLS cannot begin here")),
    }
}
