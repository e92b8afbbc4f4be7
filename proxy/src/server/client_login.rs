//! The login of a client: drives the local dialogue, and sends OK only when the upstream session is ready.

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

use crate::config::{ListenerTls, Protocol};
use crate::context::ServerContext;
use crate::failure::Failure;
use crate::limits::close_request::{CloseReason, CloseRequest};
use crate::limits::connection_slots::{Proof, Slot};
use crate::limits::send_limiter::SendSlot;
use crate::mail_protocol::MailProtocol;
use crate::monitor::refused_login;
use crate::net::drive::{Driven, GOODBYE_TIMEOUT, drive_until, send};
use crate::net::handshake_limit::HandshakeLimit;
use crate::net::stream::{Stream, poll_discard};
use crate::server::authenticate;
use crate::server::device::{Device, DevicePermit};
use crate::server::disconnect;
use crate::server::ended_before_login::EndedBeforeLogin;
use crate::server::ended_before_login::FailedHandshake;
use crate::server::listener_context::ListenerContext;
use crate::upstream::login::Connected;
use crate::upstream::login_with_slot;

/// A client that has not logged in.
#[derive(Debug)]
pub(crate) struct UnauthenticatedClient<'a> {
    /// The id of the session in the log.
    pub id: &'a str,
    /// Its address.
    pub peer: IpAddr,
    /// Its connection slot.
    pub slot: &'a Slot,
    /// Set when the client has sent anything.
    pub has_sent: &'a AtomicBool,
}

/// A client that has logged in, and its upstream session.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    /// The account that logged in.
    pub account: Account,
    /// The name of the local password that it logged in with; none for a device, and where Microsoft verified the password.
    pub credential: Option<String>,
    /// The id of the session in the log.
    pub session: String,
    /// The address of the client.
    pub from: IpAddr,
    /// The client's connection.
    pub client: Stream,
    /// What the client sent after its login.
    pub unread: Vec<u8>,
    /// The session at the mail server.
    pub upstream: Connected,
    /// Its send slot, if it is a session that sends.
    pub send_slot: Option<SendSlot>,
    /// Its device permit, if it needs no login.
    pub device_permit: Option<DevicePermit>,
}

/// Greets a client and waits for a login that succeeds.
///
/// # Errors
/// The connection ended before that; the client was sent the reason in a reply of its protocol.
pub(crate) async fn login<S: MailProtocol>(
    context: &ServerContext,
    listener: &ListenerContext,
    client: Stream,
    unauthenticated: UnauthenticatedClient<'_>,
) -> Result<LoggedIn, EndedBeforeLogin> {
    let from = unauthenticated.peer;
    let offer = Offer {
        start_tls: listener.config.tls == ListenerTls::StartTls,
        tls_before_login: listener.config.tls_before_login,
    };
    let mut session = LoginDialogue {
        dialogue: S::local(context, offer),
        stream: Some(client),
        ends: EndConditions {
            deadline: Instant::now() + context.settings.limits.login_timeout,
            request: unauthenticated.slot.close_request().clone(),
        },
    };
    match run_login::<S>(context, listener, &unauthenticated, &mut session).await {
        Ok(Accepted { account, credential, connected, send_slot, device_permit }) => {
            let LoginDialogue { dialogue, stream, .. } = session;
            let client = stream.ok_or_else(|| EndedBeforeLogin::ConnectionBroke(io::ErrorKind::NotConnected.into()))?;
            let rate = device_permit.as_ref().map(|device_permit| Arc::clone(&device_permit.device.rate));
            Ok(LoggedIn {
                account,
                credential,
                session: unauthenticated.id.to_owned(),
                from,
                client,
                unread: dialogue.into_unread(),
                upstream: connected,
                send_slot: send_slot.map(|send_slot| send_slot.limited_by(rate)),
                device_permit,
            })
        }
        Err(why) => {
            if let Some(text) = why.last_words() {
                session.say_goodbye(text, !matches!(why, EndedBeforeLogin::CloseRequested(CloseReason::Evicted))).await;
            }
            Err(why)
        }
    }
}

/// An accepted login.
struct Accepted {
    account: Account,
    credential: Option<String>,
    connected: Connected,
    send_slot: Option<SendSlot>,
    device_permit: Option<DevicePermit>,
}

async fn run_login<S: MailProtocol>(
    context: &ServerContext,
    listener: &ListenerContext,
    unauthenticated: &UnauthenticatedClient<'_>,
    session: &mut LoginDialogue<S::Local>,
) -> Result<Accepted, EndedBeforeLogin> {
    if listener.config.tls == ListenerTls::Implicit {
        session.start_tls(listener.acceptor.as_ref()).await?;
    }
    let device = listener.devices.at(unauthenticated.peer);
    if device.is_some() {
        session.dialogue.allow_without_login();
    }
    loop {
        let event = session.next().await;
        unauthenticated.has_sent.fetch_or(session.dialogue.has_spoken(), Ordering::Relaxed);
        match event? {
            LocalEvent::StartTls => {
                session.start_tls(listener.acceptor.as_ref()).await?;
                session.dialogue.tls_started();
            }
            event @ (LocalEvent::Login(_) | LocalEvent::WithoutLogin) => {
                let began = Instant::now();
                let attempt = match session.unless_closed(admit(context, unauthenticated, event, device)).await? {
                    Ok((admitted, device_permit)) => {
                        let attempt = session.unless_gone(log_in::<S>(context, &admitted)).await?;
                        attempt.map(|(connected, send_slot)| Accepted {
                            account: admitted.account().clone(),
                            credential: admitted.credential().map(str::to_owned),
                            connected,
                            send_slot,
                            device_permit,
                        })
                    }
                    Err(failure) => Err(failure),
                };
                session.ends.deadline += began.elapsed();
                match attempt {
                    // A client that was evicted while the mail server answered is not logged in.
                    Ok(_) if !unauthenticated.slot.accept_login() => {
                        return Err(EndedBeforeLogin::CloseRequested(CloseReason::Evicted));
                    }
                    Ok(accepted) => {
                        session.accept(&accepted.connected.capabilities).await?;
                        return Ok(accepted);
                    }
                    Err(mut failure) => {
                        unauthenticated.slot.fail_login();
                        if failure.is_logged {
                            if S::PROTOCOL == Protocol::Smtp {
                                refused_login::record(context, &failure, unauthenticated.peer, unauthenticated.id);
                            }
                            failure.refusal.text = with_session(&failure.refusal.text, unauthenticated.id);
                        }
                        session.dialogue.refuse(&failure.refusal);
                    }
                }
            }
            LocalEvent::SkippedPreamble(stray) => {
                context.runtime.log_limits.log_preamble(Source::of(unauthenticated.peer), stray);
            }
            LocalEvent::Closed(why) => {
                session.shut_down().await;
                return Err(EndedBeforeLogin::Closed(why));
            }
        }
    }
}

/// The local half of a login: password, account, and whether it may have one more session. It is completed even if the client
/// disconnects; otherwise a guesser could disconnect before the guess is counted.
async fn admit(
    context: &ServerContext,
    unauthenticated: &UnauthenticatedClient<'_>,
    event: LocalEvent,
    device: Option<&Arc<Device>>,
) -> Result<(Admitted, Option<DevicePermit>), Failure> {
    let (admitted, device_permit, proof) = match (event, device) {
        (LocalEvent::Login(login), _) => {
            let admitted = authenticate::admit(context, unauthenticated.peer, &login).await?;
            debug!(account = %admitted.account().mailbox, "local login accepted");
            (admitted, None, Proof::Password)
        }
        (_, Some(device)) => {
            let account = &device.config.account;
            let refused = |failure| authenticate::refused(context, unauthenticated.peer, failure, account.as_str());
            let device_permit = device.permit().ok_or_else(|| refused(Failure::too_many_devices(account)))?;
            let admitted = authenticate::admit_device(context, account).await.map_err(refused)?;
            debug!(account = %admitted.account().mailbox, "accepted without a login as a configured device");
            (admitted, Some(device_permit), Proof::Network)
        }
        (_, None) => {
            let failure = Failure::denied(&Denied::BadCredentials);
            return Err(authenticate::refused(context, unauthenticated.peer, failure, "[no login]"));
        }
    };
    let account = admitted.account();
    unauthenticated.slot.begin_login(account, proof).map_err(|reached| {
        let failure = Failure::session_limit(&reached);
        let is_logged = context.runtime.log_limits.session_limit.permit_for(reached.limit);
        if is_logged {
            warn!(account = %account.mailbox, limit = reached.limit.key(), reason = failure.log, "login refused");
        }
        failure.of_user(account.mailbox.as_str()).logged(is_logged)
    })?;
    Ok((admitted, device_permit))
}

/// The other half: token, mail server.
async fn log_in<S: MailProtocol>(
    context: &ServerContext,
    admitted: &Admitted,
) -> Result<(Connected, Option<SendSlot>), Failure> {
    let mailbox = &admitted.account().mailbox;
    match login_with_slot::log_in::<S>(context, admitted).await {
        Ok((connected, send_slot)) => {
            debug!(account = %mailbox, "logged in");
            Ok((connected, send_slot))
        }
        Err(failure) => {
            // Not rate-limited: the client has proved its identity.
            let class = failure.class.map(tracing::field::display);
            warn!(account = %mailbox, class, reason = failure.log, "upstream login failed");
            Err(failure.of_user(mailbox.as_str()).logged(true))
        }
    }
}

/// Appends the id of the session, by which the operator finds the log line of what a user reports. A sentence that is too long
/// for a reply is cut before the id.
fn with_session(text: &str, id: &str) -> String {
    let id = format!(" [session {id}]");
    let room = REPLY_TEXT_LIMIT.saturating_sub(id.len());
    let mut text: String = text.chars().take(room).collect();
    text.push_str(&id);
    text
}

/// The dialogue with a client before its login, and what may end it.
struct LoginDialogue<D> {
    dialogue: D,
    /// `None` while TLS begins, and permanently if it fails or the client does not read: nothing can be sent then.
    stream: Option<Stream>,
    ends: EndConditions,
}

/// What may end the dialogue.
struct EndConditions {
    /// When the client has taken too long. Time spent waiting for the mail server does not count.
    deadline: Instant,
    request: CloseRequest,
}

impl EndConditions {
    async fn reached(&mut self) -> EndedBeforeLogin {
        tokio::select! {
            biased;
            reason = self.request.wait() => EndedBeforeLogin::CloseRequested(reason),
            () = sleep_until(self.deadline) => EndedBeforeLogin::TimedOut,
        }
    }
}

impl<D: LocalDialogue> LoginDialogue<D> {
    async fn start_tls(&mut self, acceptor: Option<&TlsAcceptor>) -> Result<(), EndedBeforeLogin> {
        let stream = self.stream.take().ok_or_else(not_connected)?;
        let secured = tokio::select! {
            biased;
            why = self.ends.reached() => return Err(why),
            secured = start_tls(stream, acceptor) => secured,
        };
        self.stream = Some(secured.map_err(EndedBeforeLogin::ConnectionBroke)?);
        Ok(())
    }

    /// The next thing that the dialogue reports.
    async fn next(&mut self) -> Result<LocalEvent, EndedBeforeLogin> {
        let stream = self.stream.as_mut().ok_or_else(not_connected)?;
        match drive_until(&mut self.dialogue, stream, self.ends.reached())
            .await
            .map_err(EndedBeforeLogin::ConnectionBroke)?
        {
            Driven::Event(event) => Ok(event),
            Driven::Interrupted(why) => Err(why),
            Driven::Stuck(why) => {
                self.stream = None;
                Err(why)
            }
        }
    }

    /// Does `work`, unless the connection is asked to close meanwhile.
    async fn unless_closed<T>(&mut self, work: impl Future<Output = T>) -> Result<T, EndedBeforeLogin> {
        tokio::select! {
            biased;
            reason = self.ends.request.wait() => Err(EndedBeforeLogin::CloseRequested(reason)),
            done = work => Ok(done),
        }
    }

    /// Does `work`, unless the connection is asked to close meanwhile, or the client goes away.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, EndedBeforeLogin> {
        let stream = self.stream.as_mut().ok_or_else(not_connected)?;
        tokio::select! {
            biased;
            reason = self.ends.request.wait() => Err(EndedBeforeLogin::CloseRequested(reason)),
            done = disconnect::unless_gone(stream, &mut self.dialogue, work) => done.map_err(EndedBeforeLogin::Disconnected),
        }
    }

    /// Tells the client that it is logged in. A close request that arrives meanwhile is handled by what follows.
    async fn accept(&mut self, capabilities: &[String]) -> Result<(), EndedBeforeLogin> {
        self.dialogue.accept(capabilities);
        let stream = self.stream.as_mut().ok_or_else(not_connected)?;
        match timeout_at(self.ends.deadline, send(&mut self.dialogue, stream)).await {
            Ok(sent) => sent.map(drop).map_err(EndedBeforeLogin::ConnectionBroke),
            Err(_) => Err(EndedBeforeLogin::TimedOut),
        }
    }

    /// Closes the sending side; the client may still be reading the last reply, or never read at all.
    async fn shut_down(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = timeout(GOODBYE_TIMEOUT, stream.shutdown()).await;
        }
    }

    /// Ends the session with this text. If there is time for that, the client may close first: closing a socket with unread
    /// bytes in it resets the connection, and the reset could overtake the text.
    async fn say_goodbye(mut self, text: &str, has_time: bool) {
        let Some(mut stream) = self.stream else { return };
        self.dialogue.say_goodbye(text);
        let _ = timeout(GOODBYE_TIMEOUT, async {
            send(&mut self.dialogue, &mut stream).await?;
            stream.shutdown().await?;
            while has_time && poll_fn(|cx| poll_discard(&mut stream, cx)).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }
}

fn not_connected() -> EndedBeforeLogin {
    EndedBeforeLogin::ConnectionBroke(io::ErrorKind::NotConnected.into())
}

impl EndedBeforeLogin {
    /// The text for the client, unless the dialogue has sent one.
    fn last_words(&self) -> Option<&'static str> {
        match self {
            Self::CloseRequested(reason) => Some(reason.text()),
            Self::TimedOut => Some("No login within the time allowed"),
            Self::Closed(_) | Self::ConnectionBroke(_) | Self::Disconnected(_) => None,
        }
    }
}

async fn start_tls(stream: Stream, acceptor: Option<&TlsAcceptor>) -> io::Result<Stream> {
    match (stream, acceptor) {
        (Stream::Plain(tcp), Some(acceptor)) => {
            let accepted = acceptor.accept(HandshakeLimit::client(tcp)).into_fallible().await;
            let failed =
                |(error, limited): (_, HandshakeLimit)| FailedHandshake { has_begun: limited.has_received(), error };
            Ok(Stream::Tls(Box::new(accepted.map_err(failed)?.into())))
        }
        #[cfg(any(test, fuzzing))]
        (stream @ Stream::Memory(_), _) => Ok(stream),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "TLS cannot start on this connection")),
    }
}
