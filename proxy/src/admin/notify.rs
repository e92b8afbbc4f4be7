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

pub(crate) mod command;
pub(crate) mod decide;
pub(crate) mod deliver;
mod digest;
pub(crate) mod message;
#[cfg(test)]
mod receiver;
pub(crate) mod start;
pub(crate) mod trouble;
pub(crate) mod watch;
pub(crate) mod webhook;

pub(crate) use deliver::Channels;
pub(crate) use message::{Kind, Message};
pub(crate) use watch::Watch;
