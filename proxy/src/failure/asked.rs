//! What a reply of a mail server answers: whose server it is, the protocol, and the step. The same words mean something else at
//! another step.

use std::fmt;

use oxpost_protocol::LoginStep;

use crate::config::{MailService, Protocol};

/// What a session asks of a mail server, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The connection: the server's greeting.
    Greeting,
    /// EHLO or CAPABILITY.
    Capabilities,
    /// STARTTLS.
    StartTls,
    /// AUTH or AUTHENTICATE.
    Auth,
    /// What is asked after the login, to see whether the mailbox opens.
    Mailbox,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA or BDAT.
    Data,
    /// The end of the message.
    EndOfData,
}

impl Step {
    /// That of a command of a message.
    pub(crate) fn of_command(command: &str) -> Self {
        match command {
            "RCPT" => Self::Rcpt,
            "DATA" | "BDAT" => Self::Data,
            _ => Self::Mail,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Capabilities => "EHLO or CAPABILITY",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mailbox => "mailbox",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::EndOfData => "end of data",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<LoginStep> for Step {
    fn from(step: LoginStep) -> Self {
        match step {
            LoginStep::Greeting => Self::Greeting,
            LoginStep::Capabilities => Self::Capabilities,
            LoginStep::StartTls => Self::StartTls,
            LoginStep::Authenticate => Self::Auth,
            LoginStep::Mailbox => Self::Mailbox,
        }
    }
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whose server.
    pub service: MailService,
    /// Its protocol.
    pub protocol: Protocol,
    /// What was asked.
    pub step: Step,
}

impl Asked {
    /// A command of a message.
    pub(crate) fn of_message(service: MailService, step: Step) -> Self {
        Self { service, protocol: Protocol::Smtp, step }
    }

    /// A step of an upstream login.
    pub(crate) fn of_login(service: MailService, protocol: Protocol, step: LoginStep) -> Self {
        Self { service, protocol, step: step.into() }
    }
}
