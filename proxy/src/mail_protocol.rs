//! The three protocols, as one thing a session can be generic over.

use oxpost_protocol::sasl::Malformed;
use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{KnownOffer, LocalDialogue, Offer, UpstreamDialogue, imap, pop3, smtp};

use crate::config::{Protocol, Server, ServerTls};
use crate::context::ServerContext;

/// A protocol: its two dialogues and how they are made.
pub(crate) trait MailProtocol: Send + 'static {
    /// Its name.
    const PROTOCOL: Protocol;
    /// The side that faces the client.
    type Local: LocalDialogue + Send;
    /// The side that faces the server.
    type Upstream: UpstreamDialogue + Send;

    /// Begins the dialogue with a client.
    fn local(context: &ServerContext, offer: Offer) -> Self::Local;

    /// Begins the dialogue with a server of which this is known.
    ///
    /// # Errors
    /// User or token cannot be sent.
    fn upstream(
        context: &ServerContext,
        server: &Server,
        login: &XOAuth2,
        known: &KnownOffer,
    ) -> Result<Self::Upstream, Malformed>;
}

/// IMAP4rev1.
pub(crate) struct Imap;

impl MailProtocol for Imap {
    const PROTOCOL: Protocol = Protocol::Imap;
    type Local = imap::Local;
    type Upstream = imap::Upstream;

    fn local(_: &ServerContext, offer: Offer) -> imap::Local {
        imap::Local::new(offer)
    }

    fn upstream(
        _: &ServerContext,
        _: &Server,
        login: &XOAuth2,
        known: &KnownOffer,
    ) -> Result<imap::Upstream, Malformed> {
        Ok(imap::Upstream::new(login)?.with_known_offer(known))
    }
}

/// POP3.
pub(crate) struct Pop3;

impl MailProtocol for Pop3 {
    const PROTOCOL: Protocol = Protocol::Pop3;
    type Local = pop3::Local;
    type Upstream = pop3::Upstream;

    fn local(_: &ServerContext, offer: Offer) -> pop3::Local {
        pop3::Local::new(offer)
    }

    fn upstream(_: &ServerContext, _: &Server, login: &XOAuth2, _: &KnownOffer) -> Result<pop3::Upstream, Malformed> {
        pop3::Upstream::new(login)
    }
}

/// SMTP submission.
pub(crate) struct Smtp;

impl MailProtocol for Smtp {
    const PROTOCOL: Protocol = Protocol::Smtp;
    type Local = smtp::Local;
    type Upstream = smtp::Upstream;

    fn local(context: &ServerContext, offer: Offer) -> smtp::Local {
        let greeting = smtp::Greeting {
            host_name: context.settings.host_name.clone(),
            extensions: context.runtime.advertised_extensions.now().to_vec(),
        };
        smtp::Local::new(offer, greeting)
    }

    fn upstream(
        context: &ServerContext,
        server: &Server,
        login: &XOAuth2,
        known: &KnownOffer,
    ) -> Result<smtp::Upstream, Malformed> {
        let options = smtp::Options {
            host_name: context.settings.host_name.clone(),
            start_tls: server.tls == ServerTls::StartTls,
        };
        Ok(smtp::Upstream::new(login, options)?.with_known_offer(known))
    }
}
