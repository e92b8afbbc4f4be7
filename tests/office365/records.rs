//! What the tenant remembers about those who asked it for something. No token, code or password is among it.

use std::time::SystemTime;

use super::behaviour::TokenFault;
use super::tokens::Refusal;
use super::transcript::Protocol;

/// One request to the token endpoint.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// `refresh_token`, `authorization_code`, …
    pub grant_type: String,
    /// The application that asked, whether or not it exists.
    pub client_id: String,
    /// The scope it asked for.
    pub scope: String,
    /// The segment of the path that names the tenant.
    pub tenant: String,
    /// What it received.
    pub outcome: Outcome,
    /// When it asked, by the tenant's clock.
    pub at: SystemTime,
}

/// The answer to a request to the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// Tokens.
    Issued,
    /// This error.
    Refused {
        /// The value of `error`.
        error: String,
        /// The number of the AADSTS code.
        code: u32,
    },
    /// It met this fault.
    Fault(TokenFault),
}

/// One attempt to log in to a mail service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Where.
    pub protocol: Protocol,
    /// The number of the connection, as in its transcript.
    pub connection: u64,
    /// The user of the SASL string, in lower case; empty if there was none.
    pub user: String,
    /// How long the token was, in characters.
    pub token_length: usize,
    /// How it ended.
    pub outcome: LoginOutcome,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The mailbox is open.
    Accepted,
    /// IMAP's "User is authenticated but not connected".
    NotConnected,
    /// The token was refused, for this reason.
    Token(Refusal),
    /// What was sent is no XOAUTH2 string.
    Malformed,
    /// The token was good, and the holder may not use the mailbox, or not by this protocol.
    Denied,
    /// A user name and a password.
    Password,
    /// A switch of the behaviour refused it.
    Switched,
}

/// A message to a recipient outside the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope that are not of this tenant.
    pub to: Vec<String>,
    /// The message as it was received.
    pub bytes: Vec<u8>,
}
