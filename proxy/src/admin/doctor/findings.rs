//! The findings, before they are evaluated. A missing one was not looked for, because something before it
//! was wrong.

use std::time::Duration;

use oxpost_protocol::{LoginStep, UpstreamFailure};
use oxpost_token_store::diagnosis::{Metadata, Shape};
use oxpost_token_store::{Mailbox, TokenError};

use oxpost_token_store::store::nodes::NodeStatus;

use super::certificate::{Certificate, Distrust};
use super::listener::ListenerFinding;
use crate::admin::service_record::ServiceState;
use crate::config::{Protocol, Server, Servers};
use crate::failure::Failure;

/// Everything that was found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Findings {
    /// Whether the configuration can be used: what it is, or what is wrong.
    pub configuration: Option<Result<String, String>>,
    /// Whether the store opens: what is in it, or what is wrong.
    pub store: Option<Result<String, String>>,
    /// Whether the service runs. None: the configuration cannot be used.
    pub service: Option<ServiceState>,
    /// How its listeners answer.
    pub listeners: Vec<ListenerFinding>,
    /// What is wrong with the clocks of machines, as their services have noted it. None: the store does not open.
    pub clocks: Option<Vec<String>>,
    /// The nodes of a database that nodes share. None: there is no such database, or it does not open.
    pub nodes: Option<Vec<NodeStatus>>,
    /// The sign-in service of each application.
    pub authorities: Vec<Authority>,
    /// The mail servers that are used.
    pub servers: Vec<MailServer>,
    /// The accounts.
    pub accounts: Vec<AccountFindings>,
}

/// An application, and the sign-in service where it is registered.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    /// The application whose it is.
    pub application: String,
    /// Its host.
    pub host: String,
    /// What it says about the tenant, or why it cannot be reached. None: a service on this machine is asked in its place.
    pub metadata: Option<Result<Metadata, String>>,
    /// Looked into if it cannot be reached: where the way to it ends.
    pub way: Option<Reach>,
    /// Whether the service asks it now, or why not. None: not looked for.
    pub pause: Option<Result<(), String>>,
    /// By what the application proves itself (nothing if it is a public client), or why it cannot. None: not looked for.
    pub proof: Option<Result<Option<&'static str>, TokenError>>,
    /// Until when that is good, and whether the end is near.
    pub ends: Option<(String, bool)>,
}

/// A mail server.
#[derive(Debug, Clone)]
pub(crate) struct MailServer {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it is.
    pub server: Server,
    /// How far one gets.
    pub way: Reach,
}

/// The way to a server, up to TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    /// How many addresses its name has.
    pub addresses: Option<Result<usize, String>>,
    /// How long the connection took.
    pub connected: Option<Result<Duration, String>>,
    /// TLS with it.
    pub secured: Option<Result<Secured, NotSecured>>,
}

/// TLS that was made.
#[derive(Debug, Clone)]
pub(crate) struct Secured {
    /// The version.
    pub version: String,
    /// What the certificate says.
    pub certificate: Certificate,
    /// How long it took.
    pub took: Duration,
}

/// TLS that was not made.
#[derive(Debug, Clone)]
pub(crate) enum NotSecured {
    /// The certificate is not trusted.
    Distrusted(Distrust, Certificate),
    /// The server spoke of something else before TLS.
    Before(UpstreamFailure),
    /// It broke.
    Broken(String),
}

/// An account, and what its token can do.
#[derive(Debug, Clone)]
pub(crate) struct AccountFindings {
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// The application it uses.
    pub application: String,
    /// Whether proxy.toml has it, and it can do what the account asks of it; or what to change.
    pub application_fits: Result<(), String>,
    /// Whether there is a sign-in; an application that asks in its own name needs none.
    pub signed_in: bool,
    /// Whether the application asks in its own name.
    pub app_only: bool,
    /// Whether the beginning of a sign-in was tried in place of that.
    pub sign_in_tried: bool,
    /// What the application asks for.
    pub scopes: Vec<String>,
    /// Who signed in, as the store knows it.
    pub signed_in_as: Option<String>,
    /// Who logs in by SMTP.
    pub smtp_user: Mailbox,
    /// The protocols that have a listener.
    pub protocols: Vec<Protocol>,
    /// The mail servers of the application.
    pub servers: Option<Servers>,
    /// The token, or why there is none.
    pub token: Option<Result<Shape, TokenError>>,
    /// How long it lives.
    pub lifetime: Option<Duration>,
    /// Each permission asked for alone, once all together were refused.
    pub permissions: Vec<(Protocol, Result<(), TokenError>)>,
    /// The logins that were tried.
    pub logins: Vec<Login>,
    /// What SMTP said to the sender.
    pub sender: Option<Sender>,
}

/// A login that was tried.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// By which protocol.
    pub protocol: Protocol,
    /// How it went.
    pub outcome: Result<(), Refused>,
    /// What was heard, each with the time since the beginning.
    pub heard: Vec<Heard>,
}

/// A login that went wrong.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    /// The server said no, at this step.
    Server(UpstreamFailure, LoginStep),
    /// It was not reached, or did not finish.
    Unreached(Failure),
}

/// A line that was said.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When, since the beginning.
    pub after: Duration,
    /// By the server; otherwise by us.
    pub by_server: bool,
    /// The words. What we said is kept only if it is short enough to hold no token.
    pub words: String,
}

/// What SMTP said to the sender.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sender {
    /// The replies to MAIL, RCPT and RSET, as far as it came: what was asked, and what was answered.
    pub replies: Vec<(&'static str, String)>,
    /// What cut it short.
    pub broken: Option<String>,
}

impl Findings {
    /// What was found about the application that an account uses.
    pub(super) fn authority_of(&self, person: &AccountFindings) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.application == person.application)
    }

    /// What was found about the server that an account uses for a protocol.
    pub(super) fn server_of(&self, person: &AccountFindings, protocol: Protocol) -> Option<&MailServer> {
        let wanted = person.servers.as_ref()?.of(protocol);
        self.servers.iter().find(|server| server.protocol == protocol && server.server == *wanted)
    }
}
