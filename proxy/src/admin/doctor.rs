//! `oxpost doctor`: walks the whole way from the configuration to an open mailbox, and says at each step whether it can be
//! taken and, if not, what to change.
//!
//! ```text
//! examine (drivers: files, sockets, HTTP) ─▶ facts ─▶ judge (pure) ─▶ lines ─▶ the checklist, or JSON
//!                                              └────▶ report: what the service said beside what is assumed, masked
//! ```

mod assumptions;
mod certificate;
mod examine;
mod facts;
mod judge;
mod line;
mod mail;
mod mask;
mod report;
mod server;

pub(crate) use examine::Doctor;
pub(crate) use facts::Facts;
pub(crate) use judge::judge;
pub(crate) use line::{Line, Verdict};
pub(crate) use report::report;

/// What every check looks at, in the order of the checklist; `docs/troubleshooting.md` prints it.
pub const CHECKS: &[(&str, &str)] = &[
    ("configuration", "proxy.toml can be read, and the files it names can be used"),
    ("store and key", "the store opens with its key, and has the account"),
    (
        "clocks",
        "no service has noted that the clock of its machine differs from that of the database or of the sign-in service",
    ),
    ("nodes", "the nodes that share a PostgreSQL database have the same send limits (not with SQLite)"),
    ("application", "proxy.toml has the application that the account uses, and it can do what the account asks of it"),
    ("authority", "Microsoft's sign-in service answers"),
    ("clock", "this machine's clock is that of the sign-in service, as far as tokens need it"),
    ("tenant", "the tenant in proxy.toml exists"),
    ("pause", "the sign-in service is asked whenever a token is needed, and not left alone for a while"),
    (
        "credential",
        "what the application proves itself with can be used: the certificate has not expired, the federated token is there",
    ),
    ("name", "the mail server's name has an address (DNS)"),
    ("connection", "the mail server's port can be reached (TCP)"),
    ("certificate", "TLS can be made, and the certificate is trusted; if not, who issued it, such as a firewall"),
    ("client id", "the tenant knows the application"),
    (
        "kind of client",
        "it is registered as what it is used as: a public client (AADSTS7000218), or one with this secret or certificate",
    ),
    ("permission", "for each protocol that has a listener: the permission was given and consented to"),
    ("token", "the sign-in service gives an access token now"),
    ("audience", "the token is for Exchange Online, and not for Microsoft Graph"),
    ("identity", "the token speaks for the mailbox, or for somebody else who needs rights to it"),
    ("token length", "POP3 takes tokens of at most 4096 characters"),
    ("login", "for each protocol that has a listener: the mail server accepts the token for the mailbox"),
    ("mailbox", "the mailbox really opens: not \"authenticated but not connected\""),
    ("sender", "SMTP takes the mailbox as sender (MAIL, RCPT and RSET; nothing is sent)"),
];
