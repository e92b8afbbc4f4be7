//! Acts on what the tap notices in a relayed session: log lines, usage counts, back-offs.

use std::time::Duration;

use oxpost_protocol::tap::{Counts, Observation, Peer, Tap};
use oxpost_token_store::Mailbox;
use oxpost_token_store::store::mail_use::Used;
use tracing::{info, warn};

use crate::config::Protocol;
use crate::context::ServerContext;
use crate::server::relay::End;

/// How Exchange says that the access token of a session has expired. This is normal: the program logs in again.
const TOKEN_EXPIRED: &str = "AccessTokenExpired";

/// The `last_end` of a session that the mail server ended without a reply.
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

    /// Records what the session transferred and how it ended.
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

    /// Acts on something that the tap noticed.
    pub(crate) fn act(self, noticed: Observation) {
        let Self { context, mailbox, protocol } = self;
        match noticed {
            Observation::UidValidity { folder, value } => context.runtime.usage.uid_validity(mailbox, folder, value),
            Observation::FolderChanged { folder } => context.runtime.usage.folder_changed(mailbox, folder),
            Observation::Bye { asked_for: true, .. } => {}
            Observation::Bye { text, .. } if text.contains(TOKEN_EXPIRED) => info!(
                %mailbox,
                "the mail server closed the session because its access token expired; this is normal, the program logs in again"
            ),
            Observation::Bye { text, .. } => {
                info!(%mailbox, "the mail server closed the session: {text}");
                let last_end = Some((text, context.runtime.clock.now()));
                context.runtime.usage.used(mailbox, protocol, Used { last_end, ..Used::default() });
            }
            Observation::Throttled { back_off } => throttled(context, mailbox, protocol, back_off),
        }
    }
}

/// The mail server has named a back-off for the mailbox. It is logged once for as long as it lasts.
pub(crate) fn throttled(context: &ServerContext, mailbox: &Mailbox, protocol: Protocol, back_off: Duration) {
    let now = context.runtime.clock.now();
    let noted = context.runtime.back_offs.note(mailbox, protocol, back_off, now);
    if noted.is_new {
        warn!(
            %mailbox,
            %protocol,
            seconds = back_off.as_secs_f64().ceil(),
            "the mail server is throttling this mailbox; new logins wait for the end of the back-off or are refused. Let fewer \
             programs read it at the same time"
        );
    }
    if noted.is_longer {
        context.runtime.usage.used(mailbox, protocol, Used { throttled: Some((now, noted.until)), ..Used::default() });
    }
}
