//! The upstream login of a session that will send: after it has a send slot.

use oxpost_protocol::RefusalKind;
use oxpost_token_store::{Admitted, Mailbox};
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::config::Protocol;
use crate::context::ServerContext;
use crate::failure::{Failure, FailureClass};
use crate::limits::send_limiter::{MailboxLimiter, SendSlot};
use crate::mail_protocol::MailProtocol;
use crate::upstream::login::{self, Connected};
use crate::upstream::login_budget::LoginBudget;
use crate::upstream::login_timings::{LoginTimings, Stage};
use crate::upstream::readiness::{Readiness, readiness};

/// Logs in at the mail server. By SMTP it waits for a send slot first, and retries while the server refuses the login because of
/// a limit, for as long as a client waits for a slot. All of it has one budget.
///
/// # Errors
/// [`Failure`] has the texts for the client and for the log.
pub(crate) async fn log_in<S: MailProtocol>(
    context: &ServerContext,
    admitted: &Admitted,
) -> Result<(Connected, Option<SendSlot>), Failure> {
    let (budget, timings) = (LoginBudget::new(context.settings.limits.upstream_timeout), LoginTimings::default());
    let account = admitted.account();
    let servers = context.settings.servers.get(&account.application);
    let (Protocol::Smtp, Some(servers)) = (S::PROTOCOL, servers) else {
        return Ok((login::login::<S>(context, admitted, &budget, &timings).await?, None));
    };
    // A user who is renamed keeps the send slots of the mailbox.
    let sender = account.sender();
    let limiter = context.runtime.send_limiter.mailbox(&servers.smtp.host, sender, servers.sending);
    // Do not wait for a slot without a token to use it with.
    timings.waits(Stage::Token, "a token from the sign-in service");
    let ready = timeout_at(budget.end(), readiness(context, account, Protocol::Smtp)).await;
    let ready = ready.map_err(|_| Failure::timed_out(&servers.smtp.host, budget.whole(), &timings))?;
    if !matches!(ready, Readiness::Now) {
        let token = timeout_at(budget.end(), context.runtime.tokens.access_token(admitted)).await;
        let token = token.map_err(|_| Failure::timed_out(&servers.smtp.host, budget.whole(), &timings))?;
        token.map_err(|error| Failure::token(&error))?;
    }
    let (began, mut wait_budget) = (Instant::now(), limiter.budget());
    timings.waits(Stage::BackOff, "a send slot");
    let send_slot = timeout_at(budget.end_for_slots(), limiter.send_slot(&wait_budget)).await;
    let send_slot = send_slot.ok().flatten().ok_or_else(|| no_send_slot(&limiter, sender))?;
    let waited = began.elapsed().as_secs();
    if waited > 0 {
        info!(%sender, seconds = waited, "waited for a send slot");
    }
    loop {
        let failure = match login::login::<S>(context, admitted, &budget, &timings).await {
            Ok(connected) => return Ok((connected, Some(send_slot))),
            Err(failure) => failure,
        };
        timings.waits(Stage::BackOff, "the next attempt");
        let is_throttled = failure.class == Some(FailureClass::Throttled);
        if is_throttled {
            limiter.refused();
        }
        if !is_throttled || !timeout_at(budget.end(), wait_budget.pause()).await.unwrap_or(false) {
            return Err(failure);
        }
        info!(%sender, reason = failure.log, "the mail server refused the login because of a limit; retrying");
    }
}

fn no_send_slot(limiter: &MailboxLimiter, mailbox: &Mailbox) -> Failure {
    if let Some(sentence) = limiter.unreachable_database() {
        return Failure::new(RefusalKind::Unavailable, sentence.to_owned(), "").in_class(FailureClass::OurOwnLimit);
    }
    let sentence = format!(
        "{mailbox} already has {} sessions for sending, as many as the mail server allows, and none ended in time. Try again in a \
         few minutes, or let fewer programs send from it at the same time.",
        limiter.max_connections()
    );
    Failure::new(RefusalKind::Unavailable, sentence, "").in_class(FailureClass::OurOwnLimit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::SendingLimits;

    #[test]
    fn failure_without_a_slot_names_the_mailbox_and_its_limit() {
        let mailbox = Mailbox::parse("scan@contoso.com").unwrap();
        let limits = SendingLimits { max_connections: 3, ..SendingLimits::default() };
        let failure = no_send_slot(&MailboxLimiter::new(mailbox.clone(), limits, Duration::ZERO), &mailbox);
        assert!(
            failure.refusal.text.starts_with("scan@contoso.com already has 3 sessions"),
            "{}",
            failure.refusal.text
        );
        assert_eq!((failure.refusal.kind, failure.class), (RefusalKind::Unavailable, Some(FailureClass::OurOwnLimit)));
    }
}
