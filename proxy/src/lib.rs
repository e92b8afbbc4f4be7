//! Oxpost: mail for software that only knows a user name and a password.
//!
//! The data path, in the order of the modules:
//!
//! accept → local login → account → token → upstream login → relay

#![forbid(unsafe_code)]

pub mod certificate;
pub mod close_request;
pub mod connection_slots;
pub mod listener;
pub mod login_throttle;
pub mod session;
pub mod session_result;

pub mod account;
pub mod advertised_extensions;
pub mod device;
pub mod local;
pub mod pacing;
pub mod relay;
pub mod senders;
pub mod submission;
pub mod upstream;

pub mod audit;
pub mod connect;
pub mod drain;
pub mod drive;
pub mod flow;
pub mod hang_up;
pub mod metered;
pub mod speak;
pub mod stream;
pub mod tapped;
pub mod throttle;
pub mod tls;
pub mod trail;

pub mod config;
pub mod declared;
pub mod doctor;
pub mod gateway;
pub mod import;
pub mod no_login;
pub mod nodes;
pub mod notify;
pub mod observe;
pub mod proxy;
pub mod readiness;
pub mod remedy;

pub mod cli;
pub mod clock_report;
pub mod log;
pub mod log_limits;
pub mod log_rate_limit;
pub mod login_budget;
pub mod login_offers;
pub mod platform;

pub use config::Config;
pub use proxy::Proxy;
