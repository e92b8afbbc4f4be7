//! The certificates of the listeners: read again when their files change, and made by ourselves where there are none.

pub mod authority;
pub mod held;
pub mod watched;

pub use self::authority::{Authority, CannotIssue, Pair};
pub use self::held::Held;
pub use self::watched::{Certificates, Watched};
