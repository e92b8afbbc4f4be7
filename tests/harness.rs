//! What every end-to-end test shares: the real `oxpost` program in a folder of its own, other programs next to
//! it, and a forwarder in front of a mail server that counts connections.
//!
//! It reports failures as [`Problem`]s, whose text shows what the programs have said.

mod binary;
mod browser;
mod built;
mod followed_command;
mod forwarder;
mod in_process;
mod log;
#[cfg(target_os = "linux")]
mod network;
#[cfg(unix)]
pub mod postgres;
mod program;
mod settings;
mod wait;
mod webhook;

pub use binary::{Oxpost, Running};
pub use browser::{Page, SigningIn, choose, open, say};
pub use followed_command::FollowedCommand;
pub use forwarder::Forwarder;
pub use in_process::{ALICE, CLIENT_ID, InProcess, PASSWORD};
#[cfg(target_os = "linux")]
pub use network::{Network, in_own_network};
pub use program::{Ran, find, run};
pub use settings::{Settings, write_private};
pub use wait::eventually;
pub use webhook::Webhook;

/// Why a test cannot continue, in words for the developer.
pub struct Problem(String);

impl Problem {
    /// A problem in these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `unwrap` prints this, and it is to be read: as it is, with its line ends.
impl std::fmt::Debug for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl std::error::Error for Problem {}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
