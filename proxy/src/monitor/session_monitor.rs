//! What is done about what the tap notices in a session.

use std::time::Duration;

use oxpost_protocol::tap::{Counts, Observation, Peer, Tap};
use oxpost_token_store::Mailbox;
use oxpost_token_store::store::mail_use::Used;
use tracing::{info, warn};

use crate::config::Protocol;
use crate::context::ServerContext;
use crate::server::relay::End;

/// How Exchange says that the session's access token is over. It is no accident: the program logs in again, and has a new one.
const TOKEN_EXPIRED: &str = "AccessTokenExpired";

/// What the mail server has said that ends a session without a word.
const CUT: &str = "(the connection was cut)";

/// A session that is relayed.
#[derive(Clone, Copy)]
pub(crate) struct SessionMonitor<'a> {
    context: &'a ServerContext,
    mailbox: &'a Mailbox,
    protocol: Protocol,
}

impl<'a> SessionMonitor<'a> {
    /// A session of this mailbox.
    pub(crate) fn new(context: &'a ServerContext, mailbox: &'a Mailbox, protocol: Protocol) -> Self {
        Self { context, mailbox, protocol }
    }

    /// The session has ended so: what went through.
    pub(crate) fn end(self, tap: &impl Tap, end: End) {
        let Self { context, mailbox, protocol } = self;
        let Counts { fetched, stored } = tap.counts();
        let was_cut = matches!(end, End::ServerTruncated | End::ServerBroke) && !tap.has_said_goodbye(Peer::Server);
        let last_end = was_cut.then(|| (CUT.to_owned(), context.runtime.clock.now()));
        context.runtime.usage.used(
            mailbox,
            protocol,
            Used { sessions: 1, fetched, stored, last_end, ..Used::default() },
        );
    }

    /// Does what is to be done about it.
    pub(crate) fn act(self, noticed: Observation) {
        let Self { context, mailbox, protocol } = self;
        match noticed {
            Observation::UidValidity { folder, value } => context.runtime.usage.uid_validity(mailbox, folder, value),
            Observation::FolderChanged { folder } => context.runtime.usage.folder_changed(mailbox, folder),
            Observation::Bye { asked_for: true, .. } => {}
            Observation::Bye { text, .. } if text.contains(TOKEN_EXPIRED) => info!(
                %mailbox,
                "the mail server ends the session because its access token has expired: usual, the program logs in again"
            ),
            Observation::Bye { text, .. } => {
                info!(%mailbox, "the mail server ends the session: {text}");
                let last_end = Some((text, context.runtime.clock.now()));
                context.runtime.usage.used(mailbox, protocol, Used { last_end, ..Used::default() });
            }
            Observation::Throttled { back_off } => throttled(context, mailbox, protocol, back_off),
        }
    }
}

/// The mail server wants the mailbox to be left alone. It is said once, as long as it lasts.
pub(crate) fn throttled(context: &ServerContext, mailbox: &Mailbox, protocol: Protocol, back_off: Duration) {
    let now = context.runtime.clock.now();
    let noted = context.runtime.back_offs.note(mailbox, protocol, back_off, now);
    if noted.is_new {
        warn!(
            %mailbox,
            %protocol,
            seconds = back_off.as_secs_f64().ceil(),
            "the mail server throttles this mailbox; new logins wait for the end of it, or are told to come back. Let fewer \
             programs read it at once"
        );
    }
    if noted.is_longer {
        context.runtime.usage.used(mailbox, protocol, Used { throttled: Some((now, noted.until)), ..Used::default() });
    }
}
