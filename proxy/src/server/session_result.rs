//! How a session ended: the field `result` of the log line `session ended`.

use oxpost_protocol::smtp::submission::Ended;

use crate::limits::close_request::CloseReason;
use crate::server::relay::End;

/// IMAP and POP3.
pub(crate) fn of_relay(end: End) -> &'static str {
    match end {
        End::ByClient => "closed by the client",
        End::ByServer => "closed by the mail server",
        End::ClientBroke => "client connection broke",
        End::ServerBroke => "mail server connection broke",
        End::ClientTruncated => "client closed TLS without close_notify",
        End::ServerTruncated => "mail server closed TLS without close_notify",
        End::Idle => "idle timeout",
        End::Closed(CloseReason::Stopping) => "closed because Oxpost is stopping",
        End::Closed(CloseReason::Evicted) => "closed to free its slot",
        End::LoginNotFollowed => "client logged in again after commands that cannot be tracked",
    }
}

/// SMTP; for some with the reason.
pub(crate) fn of_submission(end: &Ended) -> (&'static str, &str) {
    match end {
        Ended::ByClient => ("closed by the client", ""),
        Ended::ByServer => ("closed by the mail server", ""),
        Ended::ClientSilent => ("client was silent for too long", ""),
        Ended::ServerSilent => ("mail server did not answer in time", ""),
        Ended::MadeRoom => ("closed: idle while others waited to send", ""),
        Ended::OnRequest => ("closed: Oxpost is stopping", ""),
        Ended::MessageGivenUp => ("message abandoned", ""),
        Ended::ClientBroke(why) => ("client broke the protocol", why),
        Ended::ServerBroke(why) => ("mail server broke the protocol", why),
    }
}
