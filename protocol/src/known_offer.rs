//! What is known of a mail server before it sends its greeting.

use std::sync::Arc;

/// What a mail server takes at a login, known from an earlier connection or from its provider's documentation. It saves
/// round trips and is never trusted further than that: a login that fails because of it is to be tried without it
/// ([`UpstreamDialogue::known_offer_may_be_wrong`](crate::UpstreamDialogue::known_offer_may_be_wrong)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownOffer {
    /// IMAP: the capabilities it listed before an earlier login, so that it need not be asked again. Empty: not known.
    pub capabilities: Arc<[String]>,
    /// SMTP: it accepts the token as the initial response of AUTH (RFC 4954, 4), beyond the 512 octets of a command line.
    pub initial_response: bool,
}
