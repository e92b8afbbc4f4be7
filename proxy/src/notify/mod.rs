//! Tells people when they must act: in the log, by a webhook, by a command of theirs.
//!
//! ```text
//!  store ─▶ trouble: what is wrong now ─▶ decide: what of it to tell ─▶ claim in the store ─▶ deliver: webhook, command
//!                                              ▲                                                    │
//!                                              └────────── notices: what was told ◀─────────────────┘
//! ```
//!
//! One task looks at the store from time to time, beside everything else, so that nothing waits for it. What it finds and
//! what it tells are decided by pure functions ([`trouble`], [`decide`]); what was told is kept in the store, so that neither
//! a restart nor another node tells it again.

pub mod command;
pub mod decide;
pub mod deliver;
mod digest;
pub mod message;
#[cfg(test)]
mod receiver;
pub mod start;
pub mod trouble;
pub mod watch;
pub mod webhook;

pub use deliver::Channels;
pub use message::{Kind, Message};
pub use watch::Watch;
