//! One session, from accept to the last byte:
//!
//! accept → local login → account → token → upstream login → relay

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use oxpost_protocol::smtp::Submission;
use oxpost_protocol::smtp::submission::{self, Event, Peer};
use oxpost_protocol::tap::{self, Tap};
use oxpost_token_store::Source;
use tracing::{debug, info};

use crate::config::{MailService, Protocol};
use crate::context::ServerContext;
use crate::journal::event::TakenBy;
use crate::limits::close_request::CloseRequest;
use crate::limits::connection_slots::Slot;
use crate::limits::send_limiter::{RecipientCounter, SendSlot};
use crate::mail_protocol::{Imap, MailProtocol, Pop3, Smtp};
use crate::monitor::message_record::{MessageRecord, SenderSession};
use crate::monitor::session_monitor::SessionMonitor;
use crate::net::stream::Stream;
use crate::server::client_login::{self, LoggedIn};
use crate::server::ended_before_login;
use crate::server::listener_context::ListenerContext;
use crate::server::relay::{Connection, relay};
use crate::server::sender_policy;
use crate::server::session_result;
use crate::server::submission::{MessageObserver, SubmissionSettings, Upstream, relay_submission};
use crate::upstream::advertised_extensions;

/// One client's connection.
pub struct Client {
    /// The connection.
    pub stream: Stream,
    /// The id of the session in the log.
    pub id: String,
    /// Its address.
    pub peer: IpAddr,
    /// Its connection slot.
    pub slot: Slot,
}

/// Serves one client, until it ends, or is asked to close and has finished what is in progress.
pub async fn serve(context: ServerContext, listener: Arc<ListenerContext>, client: Client) {
    let (context, close) = (&context, client.slot.close_request().clone());
    // Boxed, so that an idle session of another protocol has no space for it.
    match listener.config.protocol {
        Protocol::Imap => {
            let Some((logged_in, _slot)) = Box::pin(log_in::<Imap>(context, &listener, client)).await else { return };
            relay_bytes(context, logged_in, Protocol::Imap, tap::Imap::default(), close).await;
        }
        Protocol::Pop3 => {
            let Some((logged_in, _slot)) = Box::pin(log_in::<Pop3>(context, &listener, client)).await else { return };
            Box::pin(relay_bytes(context, logged_in, Protocol::Pop3, tap::Pop3::default(), close)).await;
        }
        Protocol::Smtp => {
            let Some((logged_in, _slot)) = Box::pin(log_in::<Smtp>(context, &listener, client)).await else { return };
            Box::pin(submit(context, logged_in, close)).await;
        }
    }
}

/// The login, which is the same for every protocol. Returns the connection slot, which is held until the session has ended.
/// The caller boxes this, so that the memory of the login is free while the session idles.
async fn log_in<P: MailProtocol>(
    context: &ServerContext,
    listener: &ListenerContext,
    client: Client,
) -> Option<(LoggedIn, Slot)> {
    let Client { stream, id, peer, slot } = client;
    debug!("connected");
    let has_sent = AtomicBool::new(false);
    let unauthenticated = client_login::UnauthenticatedClient { id: &id, peer, slot: &slot, has_sent: &has_sent };
    match client_login::login::<P>(context, listener, stream, unauthenticated).await {
        Ok(logged_in) => Some((logged_in, slot)),
        Err(why) => {
            let has_sent = has_sent.load(Ordering::Relaxed);
            let is_unlisted = listener.devices.excludes(peer);
            let ended = ended_before_login::Ended { source: Source::of(peer), has_sent, is_unlisted, why: &why };
            ended.log(&context.runtime.log_limits);
            None
        }
    }
}

/// IMAP and POP3: relays bytes through a tap.
async fn relay_bytes(
    context: &ServerContext,
    logged_in: LoggedIn,
    protocol: Protocol,
    mut tap: impl Tap,
    close: CloseRequest,
) {
    let began = Instant::now();
    let LoggedIn { account, from, client, unread, upstream, .. } = logged_in;
    let monitor = SessionMonitor::new(context, &account.mailbox, protocol);
    let client = Connection { stream: client, unread };
    let server = Connection { stream: upstream.stream, unread: upstream.unread };
    let notice = |noticed| monitor.act(noticed);
    let idle_timeout = context.settings.limits.idle_timeout;
    let relayed = relay(client, server, &mut tap, notice, idle_timeout, close).await;
    let counts = tap.counts();
    monitor.end(&tap, relayed.end);
    info!(
        account = %account.mailbox,
        client = %from,
        %protocol,
        result = session_result::of_relay(relayed.end),
        seconds = began.elapsed().as_secs(),
        bytes_from_client = relayed.to_server,
        bytes_from_server = relayed.to_client,
        fetched = counts.fetched,
        stored = counts.stored,
        "session ended"
    );
}

/// SMTP: relays messages.
async fn submit(context: &ServerContext, logged_in: LoggedIn, close: CloseRequest) {
    let began = Instant::now();
    let LoggedIn { account, credential, session, from, client, unread, upstream, send_slot, device_permit } = logged_in;
    let options = submission::Options {
        host_name: context.settings.host_name.clone(),
        extensions: advertised_extensions::usable(&upstream.capabilities),
    };
    let machine = Submission::new(options);
    let mut machine = match &device_permit {
        Some(device_permit) => device_permit.device.restrict(machine),
        None => machine.with_senders(sender_policy::of_account(&account)),
    };
    machine.receive(Peer::Client, &unread);
    machine.receive(Peer::Server, &upstream.unread);
    let servers = context.settings.servers.get(&account.application);
    let account = account.mailbox;
    let sender = SenderSession {
        account: account.clone(),
        client: from.to_string(),
        session,
        credential,
        device_permit: device_permit.as_ref().map(|device_permit| device_permit.device.networks()),
        server: servers.map(|servers| servers.smtp.host.clone()).unwrap_or_default(),
        service: servers.map_or(MailService::Other, |servers| servers.service),
    };
    let observer = Observer {
        record: MessageRecord::new(sender, &context.runtime.journal, &context.runtime.clock),
        recipient_counter: send_slot.as_ref().map(SendSlot::recipient_counter),
    };
    let settings =
        SubmissionSettings { command_timeout: context.settings.limits.smtp_command_timeout, send_slot, close };
    let carried = relay_submission(client, Upstream::live(upstream.stream), machine, settings, observer).await;
    let (result, reason) = session_result::of_submission(&carried.end);
    info!(
        %account,
        client = %from,
        protocol = %Protocol::Smtp,
        result,
        reason,
        seconds = began.elapsed().as_secs(),
        bytes_from_client = carried.from_client,
        bytes_from_server = carried.from_server,
        "session ended"
    );
}

/// Records the messages of a session, and counts their recipients.
struct Observer<'a> {
    record: MessageRecord<'a>,
    recipient_counter: Option<RecipientCounter>,
}

impl MessageObserver for Observer<'_> {
    fn begins(&mut self, sender: &str, taken_by: TakenBy) {
        self.record.begin(sender, taken_by);
    }

    fn happened(&mut self, event: &Event, taken_by: TakenBy) {
        self.record.note(event, taken_by);
        if let Some(recipient_counter) = &self.recipient_counter {
            recipient_counter.note(event);
        }
    }

    fn ended(&mut self, taken_by: TakenBy) {
        self.record.finish(taken_by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of an idle session besides its sockets, buffers and TLS.
    #[test]
    fn idle_session_future_is_small() {
        fn size<F>(_: impl FnOnce(ServerContext, Arc<ListenerContext>, Client) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve);
        assert!(size <= 4 * 1024, "{size} bytes");
    }

    /// That of an SMTP session after its login, with what is recorded of its messages.
    #[test]
    fn idle_submission_future_is_small() {
        fn size<'a, F>(_: impl FnOnce(&'a ServerContext, LoggedIn, CloseRequest) -> F) -> usize {
            size_of::<F>()
        }
        // Most of it is the state machine, once as it is made and once as it is driven.
        let size = size(submit);
        assert!(size <= 8 * 1024, "{size} bytes");
    }
}
