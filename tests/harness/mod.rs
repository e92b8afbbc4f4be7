//! What every test of the whole has in common: the real `oxpost` program in a folder of its own, other programs beside
//! it, and a door in front of a mail server that counts who comes.
//!
//! It reports failures as [`Problem`]s, whose text shows what the programs have said.

mod binary;
mod built;
mod door;
mod inside;
mod log;
#[cfg(target_os = "linux")]
mod network;
mod person;
#[cfg(unix)]
pub mod postgres;
mod program;
mod settings;
mod told;
mod wait;
mod watching;

pub use binary::{Oxpost, Running};
pub use door::Door;
pub use inside::{ALICE, CLIENT_ID, Inside, PASSWORD};
#[cfg(target_os = "linux")]
pub use network::{Network, in_own_network};
pub use person::{Page, SigningIn, choose, open, say};
pub use program::{Ran, find, run};
pub use settings::{Settings, write_private};
pub use told::Told;
pub use wait::eventually;
pub use watching::Watching;

/// Why a test cannot go on, in words for whoever runs it.
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
