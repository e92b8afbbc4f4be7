//! From a name lookup to a session that is logged in at the mail server.

pub(crate) mod advertised_extensions;
pub(crate) mod connect;
pub(crate) mod happy_eyeballs;
pub(crate) mod login;
pub(crate) mod login_budget;
pub(crate) mod login_offers;
pub(crate) mod login_timings;
pub(crate) mod login_with_slot;
pub(crate) mod lookups;
pub(crate) mod readiness;
pub(crate) mod sasl_user;
