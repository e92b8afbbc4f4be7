//! IMAP (RFC 3501, RFC 9051).
//!
//! The crate `imap-codec` reads commands and responses; what it does not understand, and legacy software says all the
//! same, is read again by a lenient reader of ours. No type of that crate leaves `command.rs` and `response.rs`.

pub(crate) mod capability;
mod command;
mod framer;
pub mod local;
mod response;
pub mod upstream;

pub use capability::for_client;
pub use local::Local;
pub use upstream::Upstream;
