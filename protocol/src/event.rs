//! The events that dialogues report, and the driver's answers.

use crate::{Preamble, Secret};

/// The credentials that a client presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name as the client wrote it: UTF-8, or each byte taken as Latin-1 where it is not.
    pub user: String,
    /// The password, byte for byte.
    pub password: Secret,
}

impl Login {
    /// From the bytes on the wire.
    pub fn new(user: &[u8], password: Secret) -> Self {
        let user = match std::str::from_utf8(user) {
            Ok(text) => text.to_owned(),
            Err(_) => user.iter().map(|&byte| char::from(byte)).collect(),
        };
        Self { user, password }
    }
}

/// What a local dialogue reports.
#[derive(Debug)]
pub enum LocalEvent {
    /// The client wants to log in. Answer with the dialogue's `accept` or `refuse`; nothing more is read until then.
    Login(Login),
    /// The client wants to send without a login, and its source allows that. Answer it like a login.
    WithoutLogin,
    /// The go-ahead for TLS has been written (STARTTLS, STLS). Wrap the stream, then call the dialogue's `tls_started`.
    StartTls,
    /// This preamble was skipped without a reply. For the log.
    SkippedPreamble(Preamble),
    /// The dialogue ended without a login. All its output was written; close the connection.
    Closed(Closed),
}

/// Why a local dialogue ended without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client sent QUIT or LOGOUT.
    ByClient,
    /// The client closed the connection.
    EndOfStream,
    /// More logins were refused than one connection may try.
    TooManyAttempts,
    /// More invalid commands were sent than one connection may send.
    TooManyErrors,
    /// A line or literal was longer than its bound.
    TooLong,
    /// Bytes were waiting behind the command that starts TLS: an injection, or a client that must not go on.
    BytesBehindStartTls,
    /// The driver asked for it ([`LocalDialogue::say_goodbye`](crate::LocalDialogue::say_goodbye)).
    Asked,
    /// The preamble is of another protocol, so no mail command can follow it.
    NotMail(Preamble),
}

/// What a listener offers before the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// TLS can be started on this connection (a certificate is at hand and TLS is not yet on).
    pub start_tls: bool,
    /// A login is refused until TLS is on.
    pub tls_before_login: bool,
}

impl Offer {
    /// Whether a login may be tried now.
    pub fn login_allowed(self) -> bool {
        !self.tls_before_login
    }
}

/// A refused login, with the sentence for the client's dialog box. Each protocol formats it in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal.
    pub kind: RefusalKind,
    /// One sentence a user or administrator can act on. Local dialogues clean it of line ends and other control
    /// characters and of anything that is not ASCII before it goes on the wire.
    pub text: String,
}

impl Refusal {
    /// A refusal of this kind, in these words.
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// The kinds of refusal that a client can distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// User name or local password is wrong. IMAP `[AUTHENTICATIONFAILED]`, POP3 `[AUTH]`, SMTP `535 5.7.8`.
    BadCredentials,
    /// A temporary failure; the client should retry automatically.
    /// IMAP `[UNAVAILABLE]`, POP3 `[SYS/TEMP]`, SMTP `454 4.7.0`.
    Unavailable,
    /// The password was correct, but the session limit is reached; the client should retry automatically.
    /// IMAP `[LIMIT]` (RFC 5530), POP3 `[SYS/TEMP]` (RFC 3206 names too many connections as its example), SMTP `454 4.7.0`.
    LimitReached,
    /// The administrator must act first (sign in again, change a setting at Microsoft). The password was right, so no client
    /// may hear otherwise, and no queued mail may bounce meanwhile.
    /// IMAP `[CONTACTADMIN]`, POP3 `[SYS/PERM]`, SMTP `454 4.7.0`.
    AdministratorMustAct,
}

/// What an upstream dialogue reports.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// The server is ready for TLS; wrap the stream, then call the dialogue's `tls_started`.
    StartTls,
    /// The token was accepted (for IMAP also: the mailbox opens). Take the unread bytes and relay.
    Authenticated {
        /// IMAP: the server's capabilities after the login. SMTP: the extensions of its last EHLO, a line each.
        /// POP3: empty.
        capabilities: Vec<String>,
    },
    /// The dialogue has failed; close the connection.
    Failed(UpstreamFailure),
}

/// Where an upstream login is, or has failed: what the server's last reply answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LoginStep {
    /// The connection: the server's greeting.
    #[default]
    Greeting,
    /// EHLO, or CAPABILITY before the login.
    Capabilities,
    /// STARTTLS.
    StartTls,
    /// AUTH or AUTHENTICATE, and the token.
    Authenticate,
    /// What is asked after the login, to see whether the mailbox opens.
    Mailbox,
}

/// Why an upstream login failed. The text is the server's own, bounded, on one line and free of control characters; it is
/// material for a log and for the table of remedies, never passed to a client as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// The server refused the token. A fresh token is worth one more try.
    TokenRefused(String),
    /// The login succeeded but the mailbox does not open (Exchange: "User is authenticated but not connected").
    NotConnected(String),
    /// The server refuses for now: a temporary reply, throttling, a BYE before the login.
    Unavailable(String),
    /// The server closed the connection in the middle of the login.
    ConnectionClosed,
    /// The server does not offer what is needed (no XOAUTH2, no STARTTLS).
    NotOffered(String),
    /// The server broke the protocol or a bound, or sent bytes ahead of TLS.
    Protocol(String),
}
