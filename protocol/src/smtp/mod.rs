//! SMTP.

mod command;
pub mod local;
mod reply;
pub mod upstream;

pub use local::{Greeting, Local};
pub use upstream::{Options, Upstream};
