//! What differs from one operating system to another. Nothing outside this module may know which one it is on.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{Signals, default_config_file, forbid_core_dumps};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{Signals, default_config_file, forbid_core_dumps};
