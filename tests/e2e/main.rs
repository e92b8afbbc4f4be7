//! Stories of the whole: the real proxy between a scripted client and the simulated tenant.
//!
//! `stories/` has the dialogues as two-column transcripts, `story.rs` plays them; what a transcript cannot tell (many
//! concurrent clients, large messages, logs, memory, signals) is a file of its own here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod client;
mod story;

mod advertised_extensions;
mod authority_faults;
mod bad_servers;
mod certificate_rotation;
mod certificates;
mod check_and_run;
mod client_assertions;
mod command_line;
mod concurrent_logins;
mod connection_slots;
mod declared_accounts;
mod devices;
mod doctor;
mod doctor_grants;
mod domain_accounts;
mod entra_back_off;
mod import;
mod journal;
mod large_messages;
mod log_lines;
mod login_budget;
// Needs network namespaces.
#[cfg(target_os = "linux")]
mod login_throttle;
mod logins;
mod managed_identity;
mod message_log;
mod notify;
mod password_grant;
mod process_kill;
mod refused_logins;
mod renamed_users;
mod retries;
mod round_trips;
mod scripted_server;
mod secret_search;
mod secrets;
mod send_limiter;
mod senders;
mod shared_mailboxes;
mod sign_in;
mod smuggling;
mod status;
// Signals are sent to the process.
#[cfg(unix)]
mod stop;
mod store;
mod tap;
mod text_files;
mod tls_listeners;
mod token_life;
mod unauthenticated_clients;
mod wrong_registrations;
