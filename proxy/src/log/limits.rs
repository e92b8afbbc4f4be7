//! The rate-limited lines of sessions: what an unauthenticated client can cause between its connection and its login.

use oxpost_protocol::Preamble;
use oxpost_token_store::Source;
use tracing::{Level, info};

use crate::limits::connection_slots::SessionLimit;
use crate::log::rate_limit::{Limits, LogRateLimit};

/// Refused logins in a minute that have a line each.
const REFUSED_LOGINS: u32 = 60;

/// Those of one source in ten minutes: as many as are checked of it.
const REFUSED_LOGINS_OF_A_SOURCE: u32 = 10;

/// One limit for each kind of line.
#[derive(Debug)]
pub struct LogLimits {
    /// A login was refused. Where the line is not written, the client is not shown the id of its session either. It must be the
    /// same limit whether the account exists or not, or the id would tell.
    pub refused_login: LogRateLimit<Source>,
    /// A login was refused because as many sessions are there as are allowed.
    pub session_limit: LogRateLimit<SessionLimit>,
    /// A login was wrong before and is repeated, as by a device that was not told of a new password.
    pub repeated_login: LogRateLimit<Source>,
    /// A connection from a blocked source was closed.
    pub blocked: LogRateLimit<Source>,
    /// A connection ended without a login.
    pub no_login: LogRateLimit<Source>,
    /// A connection began with something that is not a mail protocol.
    pub preamble: LogRateLimit<Source>,
}

impl LogLimits {
    /// Writes that a connection began with this, if the rate of such lines allows it.
    pub fn log_preamble(&self, source: Source, stray: Preamble) {
        if self.preamble.permit_for(source) {
            info!(advice = stray.advice(), "connection began with no mail protocol");
        }
    }
}

impl Default for LogLimits {
    fn default() -> Self {
        let few = Limits { lines: 30, lines_per_key: 10 };
        let once = Limits { lines: 10, lines_per_key: 1 };
        let refused_logins = Limits { lines: REFUSED_LOGINS, lines_per_key: REFUSED_LOGINS_OF_A_SOURCE };
        Self {
            refused_login: LogRateLimit::with_limits(Level::WARN, "login refused", refused_logins),
            session_limit: LogRateLimit::with_limits(Level::WARN, "login refused by a session limit", few),
            repeated_login: LogRateLimit::with_limits(Level::WARN, "repeated login refused", once),
            blocked: LogRateLimit::with_limits(Level::WARN, "connection from a blocked source closed", once),
            no_login: LogRateLimit::with_limits(Level::INFO, "connection ended without a login", few),
            preamble: LogRateLimit::with_limits(Level::INFO, "connection began with no mail protocol", few),
        }
    }
}
