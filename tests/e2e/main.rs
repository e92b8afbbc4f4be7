//! Stories of the whole: the real proxy between a scripted client and the simulated tenant.
//!
//! `stories/` has the dialogues as two-column transcripts, `story.rs` plays them; what a transcript cannot tell (many
//! clients at once, large messages, logs, memory, signals) is a file of its own here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod client;
mod story;

mod advertised_extensions;
mod audit;
mod bad_servers;
mod certificates;
mod command_line;
mod connection_slots;
mod declared;
mod devices;
mod doctor;
mod doctor_grants;
mod entra_in_trouble;
mod faults_of_the_authority;
mod guessing;
mod import;
mod killed;
mod large_messages;
mod log_lines;
mod login_budget;
mod logins;
mod machines;
mod many_at_once;
mod notify;
mod pacing;
mod password_grant;
mod patterns;
mod proofs;
mod refused_logins;
mod renamed;
mod retries;
mod round_trips;
mod scripted;
mod searcher;
mod secrets;
mod senders;
mod shared_mailboxes;
mod sign_in;
mod smuggling;
mod status;
mod stop;
mod store;
mod strangers;
mod tap;
mod tls_listeners;
mod token_life;
mod wrong_registrations;
