//! Oxpost: mail for software that only knows a user name and a password.
//!
//! accept → local login → account → token → upstream login → relay
//!
//! Each module below is a room with one purpose; `docs/design.md` has a line on each. [`cli`] reads arguments and is imported by no other
//! module; [`Server`] is the running process.

#![forbid(unsafe_code)]

mod admin;
pub mod cli;
mod config;
mod context;
mod failure;
mod journal;
mod limits;
mod log;
mod mail_protocol;
mod monitor;
mod net;
mod platform;
mod server;
#[doc(hidden)]
pub mod testing;
mod upstream;

pub use config::Config;
pub use server::Server;
