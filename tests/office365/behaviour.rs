//! Every switch of the simulated tenant, with the value that stands for "as Exchange Online and Entra ID do it". All may be
//! changed while it runs, through `Tenant::behave`.

use std::collections::VecDeque;
use std::time::Duration;

/// How the tenant behaves at this moment.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// The certificate that all services show.
    pub certificate: Certificate,
    /// The sign-in service.
    pub entra: EntraBehaviour,
    /// Which generation of mail front end answers: it changes greetings and capabilities.
    pub front_end: FrontEnd,
    /// What a refused token is answered with before the final refusal.
    pub error_challenge: ErrorChallenge,
    /// So many of the next logins are refused although their token is good.
    pub refuse_good_tokens: u32,
    /// How long Exchange thinks before it refuses a login (about nine seconds in the field for POP3).
    pub refusal_delay: Duration,
    /// IMAP only.
    pub imap: ImapBehaviour,
    /// POP3 only.
    pub pop3: Pop3Behaviour,
    /// SMTP only.
    pub smtp: SmtpBehaviour,
}

/// The certificate the services show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Certificate {
    /// Valid for the names of the services.
    #[default]
    Right,
    /// Of the tenant's authority, for `mail.fabrikam.example`.
    WrongName,
    /// For the right names, of an untrusted authority.
    OtherAuthority,
}

/// The two generations of Exchange Online's mail front end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FrontEnd {
    /// The one of many years: `The Microsoft Exchange IMAP4 service is ready.`
    #[default]
    Classic,
    /// The one that is rolled out in 2026: `tcpproxy`, `LOGINDISABLED` before the login, IMAP4rev2 behind it.
    TcpProxy,
}

/// What comes between a refused token and the final refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorChallenge {
    /// Nothing: Exchange Online refuses immediately.
    #[default]
    None,
    /// A base64 JSON challenge that waits for an empty line, as Gmail and Dovecot send it.
    Json,
}

/// Switches of the sign-in service.
#[derive(Debug, Clone)]
pub struct EntraBehaviour {
    /// The lifetime of access tokens from now on.
    pub token_lifetime: Duration,
    /// `expires_in` is written as a string, as the v1 endpoints do.
    pub numbers_as_strings: bool,
    /// Errors are described in several lines with CRLF, as before 2024, and not in one.
    pub multi_line_errors: bool,
    /// Access tokens are opaque (`EwB…`), as those of personal accounts are.
    pub opaque_tokens: bool,
    /// Bytes by which access tokens are made longer, as many directory roles and groups do.
    pub token_bloat: usize,
    /// A refresh is answered with a new refresh token.
    pub rotate_refresh_tokens: bool,
    /// A refresh token that was used stops to work (not what Entra does).
    pub refresh_tokens_used_once: bool,
    /// How long an unused refresh token lives.
    pub refresh_token_lifetime: Duration,
    /// How long a device code lives.
    pub device_code_lifetime: Duration,
    /// The pause a device must keep between two polls.
    pub device_code_interval: Duration,
    /// A device that polls faster than its interval receives `slow_down`.
    pub slow_down: bool,
    /// A person may consent to an application; otherwise an administrator has to.
    pub user_consent: bool,
    /// The password grant and the sign-in page ask for a second factor, which no user has.
    pub second_factor_required: bool,
    /// So many different wrong passwords in a row lock a user out (three in the clouds of the US Government).
    pub lockout_threshold: usize,
    /// How long the first lockout lasts; each further one is twice as long.
    pub lockout_duration: Duration,
    /// How long the token endpoint thinks before it answers.
    pub delay: Duration,
    /// What the next requests to the token endpoint meet, one fault each, before `fault`.
    pub next_faults: VecDeque<TokenFault>,
    /// What every request to the token endpoint meets until it is cleared.
    pub fault: Option<TokenFault>,
}

impl Default for EntraBehaviour {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_mins(75),
            numbers_as_strings: false,
            multi_line_errors: false,
            opaque_tokens: false,
            token_bloat: 0,
            rotate_refresh_tokens: true,
            refresh_tokens_used_once: false,
            refresh_token_lifetime: Duration::from_hours(90 * 24),
            device_code_lifetime: Duration::from_mins(15),
            device_code_interval: Duration::from_secs(5),
            slow_down: false,
            user_consent: true,
            second_factor_required: false,
            lockout_threshold: 10,
            lockout_duration: Duration::from_mins(1),
            delay: Duration::ZERO,
            next_faults: VecDeque::new(),
            fault: None,
        }
    }
}

/// What may go wrong at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFault {
    /// 429 with this `Retry-After` in seconds, if any.
    TooManyRequests(Option<u32>),
    /// A bare status such as 500 or 503, with this `Retry-After` in seconds, if any.
    Status(u16, Option<u32>),
    /// An HTML page with this status, as a busy front end or a proxy in between shows it.
    Html(u16),
    /// 200 and nothing else.
    Empty,
    /// 200 and this many bytes of JSON that never becomes an answer.
    Huge(usize),
    /// 200 and something that only begins like JSON.
    Garbage,
    /// No answer until `Tenant::release` is called; then the request is served.
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// The error that Entra gives for this AADSTS code.
    Aadsts(u32),
    /// An AADSTS code under another name than its own: a transient failure reported as `invalid_grant`, for example.
    Disguised {
        /// The value of `error`.
        error: String,
        /// The number of the AADSTS code.
        code: u32,
        /// The value of `suberror`, if any.
        suberror: Option<String>,
    },
    /// The error of an AADSTS code, described with everything that the request contained.
    Repeat(u32),
    /// A success whose access token Exchange will refuse.
    UselessToken,
    /// A success without `expires_in`.
    NoLifetime,
}

/// A fault of a mail connection: at this stage, do this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it happens.
    pub stage: Stage,
    /// What happens.
    pub act: Act,
    /// How often it still happens; none: until it is cleared.
    pub times: Option<u32>,
}

impl Fault {
    /// A fault that happens to the next connection that comes to this stage.
    pub fn once(stage: Stage, act: Act) -> Self {
        Self { stage, act, times: Some(1) }
    }

    /// A fault that happens until it is cleared.
    pub fn always(stage: Stage, act: Act) -> Self {
        Self { stage, act, times: None }
    }
}

/// The stages of a mail connection at which a fault can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The TCP connection was accepted.
    Connect,
    /// Instead of the greeting.
    Greeting,
    /// Instead of the answer to CAPABILITY, CAPA or EHLO.
    Capability,
    /// Instead of the answer to STARTTLS or STLS.
    StartTls,
    /// Instead of the answer to complete credentials.
    Credentials,
    /// Instead of the answer to any other command after the login.
    Command,
    /// Instead of the answer to MAIL.
    Mail,
    /// Instead of the answer to RCPT.
    Recipient,
    /// Instead of the answer to DATA or to a chunk of BDAT.
    Data,
    /// Instead of the answer to a complete message.
    Message,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Closes the connection.
    Close,
    /// Resets the connection (RST).
    Reset,
    /// Sends the beginning of a line, and closes.
    HalfLine,
    /// Sends bytes of no protocol, and goes on as if it had answered.
    Garbage,
    /// Sends this line instead of its answer, and goes on. `{tag}` stands for the tag of the IMAP command, `{credentials}`
    /// for the line with the client's credentials.
    Say(String),
    /// Sends this line instead of its answer, and closes. `{tag}` stands for the tag of the IMAP command.
    SayAndClose(String),
    /// Says nothing more, and keeps the connection open, until `Tenant::release`; then closes it.
    Silence,
    /// Waits for `Tenant::release`, and goes on as usual.
    Hold,
    /// Waits for so long, and goes on as usual.
    Delay(Duration),
}

/// Switches of IMAP.
#[derive(Debug, Clone)]
pub struct ImapBehaviour {
    /// Faults of connections.
    pub faults: Vec<Fault>,
    /// So many of the next logins become "authenticated but not connected" although the mailbox could be opened.
    pub not_connected: u32,
    /// A running session ends with `BYE Session invalidated - AccessTokenExpired` when its token expires.
    pub end_session_at_expiry: bool,
    /// The next command behind a login is answered `Request is throttled`, with so many milliseconds to wait.
    pub throttle: Option<u64>,
    /// Logins are answered `Request is throttled`, with so many milliseconds to wait.
    pub throttle_logins: Option<u64>,
    /// XOAUTH2 is offered.
    pub offer_xoauth2: bool,
    /// SASL-IR is offered; AUTHENTICATE with an initial response is BAD otherwise.
    pub offer_initial_response: bool,
    /// The bracket in the greeting is empty.
    pub empty_bracket: bool,
}

impl Default for ImapBehaviour {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            not_connected: 0,
            end_session_at_expiry: true,
            throttle: None,
            throttle_logins: None,
            offer_xoauth2: true,
            offer_initial_response: true,
            empty_bracket: false,
        }
    }
}

/// Switches of POP3.
#[derive(Debug, Clone)]
pub struct Pop3Behaviour {
    /// Faults of connections.
    pub faults: Vec<Fault>,
    /// Tokens of more than 4096 characters are a protocol error, as since July 2025.
    pub long_tokens_refused: bool,
    /// XOAUTH2 is offered.
    pub offer_xoauth2: bool,
}

impl Default for Pop3Behaviour {
    fn default() -> Self {
        Self { faults: Vec::new(), long_tokens_refused: true, offer_xoauth2: true }
    }
}

/// Switches of SMTP submission.
#[derive(Debug, Clone)]
pub struct SmtpBehaviour {
    /// Faults of connections.
    pub faults: Vec<Fault>,
    /// STARTTLS is offered.
    pub offer_starttls: bool,
    /// XOAUTH2 is offered.
    pub offer_xoauth2: bool,
    /// AUTH with an initial response is answered `500 5.5.2 Line too long`, as by servers that keep to the 512 octets of a command.
    pub long_commands_refused: bool,
    /// Text that an attacker on the network adds, unencrypted, directly after the `220` that answers STARTTLS.
    pub injected_behind_starttls: Option<String>,
    /// The tenant's setting `SmtpClientAuthenticationDisabled`; that of a mailbox overrides it.
    pub disabled_for_tenant: bool,
    /// Every login is refused for this reason.
    pub refusal: Option<SmtpRefusal>,
    /// More concurrent messages than this from one mailbox are refused; none: no limit.
    pub concurrent_messages: Option<usize>,
    /// More messages than this within a minute from one mailbox are refused; none: no limit. Exchange's is 30, of which Microsoft
    /// says in one place that what is beyond is delayed and in another that it is refused.
    pub messages_per_minute: Option<usize>,
    /// How long an unknown command is left waiting (about five seconds in the field).
    pub tarpit: Duration,
    /// The greeting ends in an id, as since late 2024.
    pub greeting_id: bool,
}

impl Default for SmtpBehaviour {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            offer_starttls: true,
            offer_xoauth2: true,
            long_commands_refused: false,
            injected_behind_starttls: None,
            disabled_for_tenant: false,
            refusal: None,
            concurrent_messages: Some(3),
            messages_per_minute: None,
            tarpit: Duration::ZERO,
            greeting_id: true,
        }
    }
}

/// Why Exchange refuses every SMTP login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpRefusal {
    /// `535 5.7.139 … user is locked by your organization's security defaults policy`
    SecurityDefaults,
    /// `535 5.7.139 … the request did not meet the criteria`
    Criteria,
    /// `535 5.7.139 … basic authentication is disabled`
    BasicDisabled,
    /// `535 5.7.139 … the user credentials were incorrect`
    CredentialsIncorrect,
    /// `550 5.7.30 Basic authentication is not supported for Client Submission.`
    BasicNotSupported,
    /// `454 4.7.0 Temporary authentication failure`
    Temporary,
}
