//! SMTP.

mod command;
pub mod local;
mod reply;
pub mod sender_policy;
pub mod submission;
mod throttled;
pub mod upstream;

pub use local::{Greeting, Local};
pub use sender_policy::AllowedSenders;
pub use submission::Submission;
pub use throttled::is_throttled;
pub use upstream::{Options, Upstream};
