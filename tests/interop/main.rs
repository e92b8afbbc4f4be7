//! Real servers and real clients around the real program: each client of `clients/` in front of a real Dovecot and of the
//! simulated Exchange. Each cell of this matrix prints one line.
//!
//! A program that is missing is a failure that names `./tests/install`, never a test left out.
#![cfg(unix)]
// A story that cannot go on ends with a panic, which shows the logs of everybody in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(missing_docs, unreachable_pub)]

mod certificate;
mod clients;
mod dovecot;
mod message;
mod nodes;
mod pfx;
mod tokens;
mod world;
