//! SMTP.

mod command;
pub mod local;
mod reply;
pub mod submission;
pub mod upstream;

pub use local::{Greeting, Local};
pub use submission::Submission;
pub use upstream::{Options, Upstream};
