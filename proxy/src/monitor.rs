//! What is recorded about sessions and messages, for the log, `oxpost status` and alerts. Nothing here changes what is relayed.

pub(crate) mod message_record;
pub(crate) mod refused_login;
pub(crate) mod session_monitor;
pub(crate) mod usage_writer;
