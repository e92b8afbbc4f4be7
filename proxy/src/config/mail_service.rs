//! Whose mail servers an application's accounts use.

use std::fmt;

use oxpost_token_store::Application;
use oxpost_token_store::entra_codes::Vendor;

/// Whose mail servers an application's accounts use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MailService {
    /// Exchange Online.
    Exchange,
    /// Gmail.
    Gmail,
    /// Another one.
    Other,
}

impl MailService {
    /// The service whose tokens an application gets.
    pub fn of(application: &Application) -> Self {
        match Vendor::of(application) {
            Vendor::Microsoft => Self::Exchange,
            Vendor::Google => Self::Gmail,
            Vendor::Other => Self::Other,
        }
    }
}

impl fmt::Display for MailService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exchange => "Exchange",
            Self::Gmail => "Gmail",
            Self::Other => "other",
        })
    }
}
