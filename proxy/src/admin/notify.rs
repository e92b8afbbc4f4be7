//! Tells people when they must act: in the log, by a webhook, by a command of theirs.
//!
//! ```text
//!  store ─▶ condition: what is wrong now ─▶ decide: what of it to send ─▶ claim in the store ─▶ deliver: webhook, command
//!                                              ▲                                                    │
//!                                              └────────── alerts: what was delivered ◀─────────────┘
//! ```
//!
//! One task reads the store from time to time, in the background, so that nothing waits for it. What it finds and
//! what it sends are decided by pure functions ([`conditions`], [`decide`]); what was delivered is kept in the store, so that neither
//! a restart nor another node sends it again.

pub(crate) mod command;
pub(crate) mod conditions;
pub(crate) mod decide;
pub(crate) mod deliver;
mod digest;
pub(crate) mod message;
pub(crate) mod notifier;
#[cfg(test)]
mod receiver;
pub(crate) mod start;
pub(crate) mod webhook;

pub(crate) use deliver::Channels;
pub(crate) use message::{Kind, Message};
pub(crate) use notifier::Notifier;
