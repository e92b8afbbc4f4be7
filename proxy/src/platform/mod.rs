//! What differs from one operating system to another. Nothing outside this module may know which one it is on.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{
    PORT_REFUSED_ADVICE, Signals, azure_arc_keys, default_config_file, forbid_core_dumps, has_browser,
    keep_from_others, open_browser, others_may_read, raise_descriptor_limit,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{
    PORT_REFUSED_ADVICE, Signals, azure_arc_keys, default_config_file, forbid_core_dumps, has_browser,
    keep_from_others, open_browser, others_may_read, raise_descriptor_limit,
};
