//! Unix.

use std::io;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What to do when the system does not let us listen on a port.
pub const PORT_REFUSED_ADVICE: &str =
    "Ports below 1024 need a privilege; choose a higher port, or grant CAP_NET_BIND_SERVICE.";

/// The requests to stop: SIGINT (Ctrl-C) and SIGTERM (systemd, kill).
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen for them.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Where the configuration is when there is none in the working directory.
pub fn default_config_file() -> PathBuf {
    "/etc/oxpost/proxy.toml".into()
}

/// A core dump would hold every token and key that was in memory.
///
/// # Errors
/// The system does not allow it.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(io::Error::from)
}

/// Raises this process's limit of open files towards `wanted`, as far as the system allows; gives back what it is then.
///
/// # Errors
/// The system does not tell or take it.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now >= wanted {
        return Ok(now);
    }
    let granted = wanted.min(most);
    setrlimit(Resource::RLIMIT_NOFILE, granted, most)?;
    Ok(granted)
}
