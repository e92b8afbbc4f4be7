//! A login to send mail that was refused: no message could be sent because of it.

use std::net::IpAddr;

use crate::context::ServerContext;
use crate::failure::Failure;
use crate::journal::event::{DecidedBy, Detail, JournalEvent, Kind, bounded};

/// Records a refused login in the journal. The caller does so for those that the log has, which are bounded: guesses must not fill it.
pub(crate) fn record(context: &ServerContext, failure: &Failure, peer: IpAddr, session: &str) {
    let runtime = &context.runtime;
    let at = runtime.clock.now();
    let reply = failure.server_reply.as_deref().filter(|reply| !reply.is_empty()).map(bounded);
    // The text for the operator quotes the reply; that for the client may say less where no server has said anything.
    let reason = if reply.is_some() { &failure.refusal.text } else { &failure.log };
    let detail = Detail {
        session: session.to_owned(),
        client: peer.to_string(),
        decided_by: Some(DecidedBy::Login),
        reason: Some(bounded(reason)),
        reply,
        ..Detail::default()
    };
    runtime.journal.record(JournalEvent {
        id: runtime.journal.new_id(at),
        step: 0,
        at,
        kind: Kind::LoginRefused,
        account: failure.user.clone().unwrap_or_default(),
        node: String::new(),
        detail,
    });
}
