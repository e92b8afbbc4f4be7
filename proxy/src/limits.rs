//! What bounds clients and mailboxes: pure decisions, and the state that all sessions share.

pub(crate) mod back_off;
pub(crate) mod close_request;
pub(crate) mod connection_slots;
pub(crate) mod login_throttle;
pub(crate) mod nodes;
pub(crate) mod send_limiter;
