//! POP3.

pub mod local;
pub mod upstream;

pub use local::Local;
pub use upstream::Upstream;
