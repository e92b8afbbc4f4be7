//! Replies that mean the same whoever's server it is: what a firewall, a block list or the name of this host causes.

use super::super::asked::Step::{Capabilities, EndOfData, Greeting, Mail, Rcpt, StartTls};
use super::{AUTH, IMAP, KnownReply, SMTP, Step, passing, setting};

const INSPECTION: &str = "A firewall masks SMTP commands on the way to the mail server, so that TLS cannot begin.";

const NO_INSPECTION: &str = "Have it pass SMTP to the mail server uninspected (Cisco ASA: `no inspect esmtp`; others call it SMTP inspection or ALG).";

const BLOCKED: &str = "The mail server refuses the address of this site, because a block list names it.";

const DELIST: &str = "Look the public address of this site up at https://check.spamhaus.org or at the list that the reply names, stop what sends spam \
                      from it, and ask for its removal.";

/// Where a server says that it does not like the address of the client.
const ADDRESS: &[Step] = &[Greeting, Capabilities, Mail, Rcpt, EndOfData];

/// What is looked for before a service's own replies.
pub(super) const FIRST: &[KnownReply] = &[
    setting("XXXX", INSPECTION, NO_INSPECTION).by(SMTP).at(&[Greeting, Capabilities, StartTls]),
    setting("****", INSPECTION, NO_INSPECTION).by(SMTP).at(&[Greeting, Capabilities, StartTls]),
    setting("block list", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting("blocklist", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting("blacklist", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting("dnsbl", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting("spamhaus", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting("spamcop", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting("barracudacentral", BLOCKED, DELIST).by(SMTP).at(ADDRESS),
    setting(
        "does not offer STARTTLS",
        "The mail server offers no STARTTLS, so no token is sent to it.",
        "Check host, port and tls of this server in proxy.toml; if they are right, a firewall removes STARTTLS: have it pass SMTP uninspected.",
    )
    .by(SMTP)
    .at(&[Capabilities]),
    passing(
        "^4",
        "The mail server cannot begin TLS at the moment.",
        "Try again in a few minutes; if it lasts, check that no firewall answers in its place.",
    )
    .by(SMTP)
    .at(&[StartTls]),
    setting(
        "^5",
        "The mail server refuses STARTTLS, although it offers it.",
        "Check that no firewall or virus scanner inspects SMTP on the way to it.",
    )
    .by(SMTP)
    .at(&[StartTls]),
];

/// What is left if the service has no reply of its own.
pub(super) const LAST: &[KnownReply] = &[
    passing(
        "^4",
        "The mail server does not accept EHLO at the moment.",
        "Try again in a few minutes.",
    )
    .by(SMTP)
    .at(&[Capabilities]),
    setting(
        "^5",
        "The mail server does not accept Oxpost's EHLO.",
        "Set host-name in proxy.toml to a name that DNS knows, and check that no firewall inspects SMTP on the way.",
    )
    .by(SMTP)
    .at(&[Capabilities]),
    setting(
        "^50",
        "The mail server does not know the way in which Oxpost logs in (AUTH XOAUTH2).",
        "Check that the provider in proxy.toml names a server that accepts XOAUTH2, and that no firewall inspects SMTP on the way.",
    )
    .by(SMTP)
    .at(AUTH),
    setting(
        "unsupported",
        "The mail server does not know the way in which Oxpost logs in (AUTHENTICATE XOAUTH2).",
        "Check that the provider in proxy.toml names a server that accepts XOAUTH2.",
    )
    .by(IMAP)
    .at(AUTH),
];
