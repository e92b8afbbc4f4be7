//! `oxpost doctor`: walks the whole way from the configuration to an open mailbox, and says at each step whether it can be
//! taken and, if not, what to change.
//!
//! ```text
//! examine (drivers: files, sockets, HTTP) ─▶ findings ─▶ evaluate (pure) ─▶ lines ─▶ the checklist, or JSON
//!                                              └────▶ report: what the service said next to what is assumed, masked
//! ```

mod assumptions;
mod certificate;
mod check;
mod evaluate;
mod examine;
mod findings;
mod listener;
mod mail;
mod mask;
mod report;
mod server;

pub(crate) use check::{Check, Verdict};
pub(crate) use evaluate::evaluate;
pub(crate) use examine::Doctor;
pub(crate) use findings::Findings;
pub(crate) use report::report;

/// The meaning of each check when it passes, in the order of the checklist; `docs/troubleshooting.md` contains it.
pub const CHECKS: &[(&str, &str)] = &[
    ("configuration", "proxy.toml and the files it names are valid"),
    ("store and key", "the store opens with its key, and contains the account"),
    ("service", "the service of this machine is running"),
    ("listener", "each listener of proxy.toml greets a client of this machine"),
    ("clocks", "no node has reported that its clock differs from that of the database or of the sign-in service"),
    ("nodes", "the nodes that share a PostgreSQL database have the same send limits (not with SQLite)"),
    ("application", "proxy.toml has the application that the account uses, and it suits the account's grant"),
    ("authority", "Microsoft's sign-in service answers"),
    ("clock", "this machine's clock agrees with that of the sign-in service closely enough for tokens"),
    ("tenant", "the tenant in proxy.toml exists"),
    ("pause", "Oxpost is not pausing its requests to the sign-in service"),
    (
        "credential",
        "the credential of the application is usable: the certificate has not expired, the federated token exists",
    ),
    ("name", "the mail server's name has an address (DNS)"),
    ("connection", "the mail server's port can be reached (TCP)"),
    (
        "certificate",
        "a TLS connection succeeds, and the certificate is trusted; if not, it names the issuer, such as a firewall",
    ),
    ("client id", "the tenant knows the application"),
    (
        "kind of client",
        "the registration matches its use: a public client (AADSTS7000218), or one with this secret or certificate",
    ),
    ("permission", "for each protocol that has a listener: the permission was granted with consent"),
    ("token", "the sign-in service issues an access token now"),
    ("audience", "the token is for Exchange Online, and not for Microsoft Graph"),
    ("identity", "the token belongs to the user of the mailbox, or to another user with access to it"),
    ("token length", "the token has at most 4096 characters, the limit of POP3"),
    ("login", "for each protocol that has a listener: the mail server accepts the token for the mailbox"),
    ("mailbox", "the mailbox opens: not \"authenticated but not connected\""),
    ("sender", "SMTP accepts the mailbox as sender (MAIL, RCPT and RSET; nothing is sent)"),
];
