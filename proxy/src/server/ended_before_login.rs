//! The log line of a connection that ended without a login: its level and its text.

use std::fmt;
use std::io;

use oxpost_protocol::{Closed, Preamble};
use oxpost_token_store::Source;
use tracing::{debug, info};

use crate::limits::close_request::CloseReason;
use crate::log::limits::LogLimits;

/// Why a connection ended without a login.
#[derive(Debug)]
pub(crate) enum EndedBeforeLogin {
    /// The dialogue ended it.
    Closed(Closed),
    /// The client took too long.
    TimedOut,
    /// It was asked to close.
    CloseRequested(CloseReason),
    /// The connection broke, or TLS failed.
    ConnectionBroke(io::Error),
    /// The client disconnected during the upstream login.
    Disconnected(io::Error),
}

/// A TLS handshake with a client that failed.
#[derive(Debug)]
pub struct FailedHandshake {
    /// Whether the client had sent anything of it.
    pub has_begun: bool,
    /// What happened.
    pub error: io::Error,
}

impl fmt::Display for FailedHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for FailedHandshake {}

impl From<FailedHandshake> for io::Error {
    fn from(failed: FailedHandshake) -> Self {
        Self::new(failed.error.kind(), failed)
    }
}

/// A connection that has ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// Where it came from.
    pub source: Source,
    /// Whether the client has sent anything.
    pub has_sent: bool,
    /// Whether its listener lets devices send without a login, but not from this address.
    pub is_unlisted: bool,
    /// How it ended.
    pub why: &'a EndedBeforeLogin,
}

/// What is written of it.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// At debug: a probe, or a connection that was evicted. No one looks for it.
    Debug(&'static str),
    /// At info, if the rate of those lines allows it.
    Limited(&'static str),
    /// The same, of another kind: this came instead of a mail protocol.
    Preamble(Preamble),
    /// At info: this client has proved who it is.
    Always(&'static str),
}

impl Ended<'_> {
    /// Writes its line, if it has one.
    pub(crate) fn log(&self, limits: &LogLimits) {
        let error = match self.why {
            EndedBeforeLogin::ConnectionBroke(error) | EndedBeforeLogin::Disconnected(error) => Some(error),
            _ => None,
        };
        let error = error.map(tracing::field::display);
        match self.line() {
            Line::Debug(reason) => debug!(reason, error, "connection ended without a login"),
            Line::Always(reason) => info!(reason, error, "connection ended without a login"),
            Line::Limited(reason) => {
                if limits.no_login.permit_for(self.source) {
                    let hint = self.is_unlisted.then_some("its address is in no [[listener.device]] of this listener");
                    info!(reason, error, hint, "connection ended without a login");
                }
            }
            Line::Preamble(stray) => limits.log_preamble(self.source, stray),
        }
    }

    fn line(&self) -> Line {
        let reason = match self.why {
            EndedBeforeLogin::Disconnected(_) => {
                return Line::Always("the client disconnected while the mail server was asked");
            }
            EndedBeforeLogin::Closed(Closed::NotMail(stray)) => return Line::Preamble(*stray),
            EndedBeforeLogin::Closed(Closed::ByClient) => "the client quit",
            EndedBeforeLogin::Closed(Closed::EndOfStream) => "the client closed the connection",
            EndedBeforeLogin::Closed(Closed::TooManyAttempts) => "too many logins were refused",
            EndedBeforeLogin::Closed(Closed::TooManyErrors) => "too many commands were not understood",
            EndedBeforeLogin::Closed(Closed::TooLong) => "a line or literal was too long",
            EndedBeforeLogin::Closed(Closed::BytesBehindStartTls) => {
                "unencrypted bytes followed the command that starts TLS"
            }
            EndedBeforeLogin::Closed(Closed::Asked) => "it was asked to close",
            EndedBeforeLogin::CloseRequested(CloseReason::Evicted) => return Line::Debug("it was evicted"),
            EndedBeforeLogin::CloseRequested(CloseReason::Stopping) => return Line::Debug("Oxpost is stopping"),
            EndedBeforeLogin::TimedOut => "no login within login-timeout",
            EndedBeforeLogin::ConnectionBroke(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<FailedHandshake>()) {
                    Some(FailedHandshake { has_begun: true, .. }) => return Line::Limited("TLS failed"),
                    Some(FailedHandshake { has_begun: false, .. }) => "the client closed the connection before TLS",
                    None => "the connection broke",
                }
            }
        };
        if self.has_sent { Line::Limited(reason) } else { Line::Debug(reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(why: &EndedBeforeLogin, has_sent: bool) -> Line {
        let source = Source::of("192.0.2.7".parse().unwrap());
        Ended { source, has_sent, is_unlisted: false, why }.line()
    }

    fn failed_handshake(has_begun: bool) -> EndedBeforeLogin {
        EndedBeforeLogin::ConnectionBroke(
            FailedHandshake { has_begun, error: io::ErrorKind::UnexpectedEof.into() }.into(),
        )
    }

    #[test]
    fn silent_connection_is_logged_at_debug() {
        for why in [
            EndedBeforeLogin::Closed(Closed::EndOfStream),
            EndedBeforeLogin::TimedOut,
            EndedBeforeLogin::ConnectionBroke(io::ErrorKind::ConnectionReset.into()),
            failed_handshake(false),
        ] {
            assert!(matches!(line(&why, false), Line::Debug(_)), "{why:?}");
        }
    }

    #[test]
    fn connection_that_sent_bytes_is_logged_within_a_limit() {
        for why in [Closed::ByClient, Closed::EndOfStream, Closed::TooManyErrors, Closed::TooLong] {
            assert!(matches!(line(&EndedBeforeLogin::Closed(why), true), Line::Limited(_)), "{why:?}");
        }
        assert_eq!(line(&EndedBeforeLogin::TimedOut, true), Line::Limited("no login within login-timeout"));
        assert_eq!(line(&failed_handshake(true), false), Line::Limited("TLS failed"));
        let before = Line::Limited("the client closed the connection before TLS");
        assert_eq!(line(&failed_handshake(false), true), before, "after STARTTLS");
    }

    #[test]
    fn proved_client_is_always_logged() {
        assert!(matches!(
            line(&EndedBeforeLogin::Disconnected(io::ErrorKind::UnexpectedEof.into()), true),
            Line::Always(_)
        ));
        let stray = Preamble::HttpRequest;
        assert_eq!(line(&EndedBeforeLogin::Closed(Closed::NotMail(stray)), true), Line::Preamble(stray));
    }
}
