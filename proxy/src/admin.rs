//! What an administrator does with Oxpost besides running it. The command line calls it; the data path does not know it.

pub(crate) mod account_problems;
pub(crate) mod certificates;
pub(crate) mod circuit_report;
pub(crate) mod clock_report;
pub(crate) mod credential_expiry;
pub(crate) mod doctor;
pub(crate) mod import;
pub(crate) mod node_report;
pub(crate) mod notify;
pub(crate) mod reconcile;
pub(crate) mod service_record;
pub(crate) mod timestamp;
