//! Unix.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{self, SignalKind, signal};

use super::Signal;

/// What to do when the system does not let us listen on a port.
pub(crate) const PORT_REFUSED_ADVICE: &str =
    "Ports below 1024 need a privilege; choose a higher port, or grant CAP_NET_BIND_SERVICE.";

/// Whether connections that have ended keep a port from being bound for a while (TIME_WAIT), unless the socket says that it may.
pub(crate) const PORT_OUTLIVES_SOCKET: bool = true;

/// The requests to stop, SIGINT (Ctrl-C) and SIGTERM (systemd, kill), and the one to reload, SIGHUP, which would end a process
/// that does not listen for it. SIGPIPE is ignored by Rust's runtime, so that a connection that broke is an error of that
/// connection.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Begins to listen for them.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

/// Where the configuration is when there is none in the working directory.
pub(crate) fn default_config_file() -> PathBuf {
    "/etc/oxpost/proxy.toml".into()
}

/// A core dump would hold every token and key that was in memory.
///
/// # Errors
/// The system does not allow it.
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(io::Error::from)
}

/// Raises this process's limit of open files towards `wanted`, as far as the system allows; gives back what it is then.
///
/// # Errors
/// The system does not tell or take it.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now >= wanted {
        return Ok(now);
    }
    let granted = wanted.min(most);
    setrlimit(Resource::RLIMIT_NOFILE, granted, most)?;
    Ok(granted)
}

/// The program that opens an address in the browser of the desktop.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Whether there is a desktop with a browser. Without one, xdg-open would start a browser of the terminal, in the middle
/// of what is typed there.
pub(crate) fn has_browser() -> bool {
    let desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    desktop && std::env::split_paths(&path).any(|folder| folder.join(OPENER).is_file())
}

/// Opens an address in the browser of the desktop. `false` if it cannot be.
pub(crate) fn open_browser(address: &str) -> bool {
    let mut command = Command::new(OPENER);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    has_browser() && command.spawn().is_ok()
}

/// Bits of a file with a secret in it that must not be set. The group may read: a key is often kept for a group of services.
const OTHERS: u32 = 0o027;

/// Whether others than the owner and the group may read a file, or others than the owner may write it.
pub(crate) fn others_may_read(metadata: &Metadata) -> bool {
    metadata.mode() & OTHERS != 0
}

/// The command that keeps a file from others.
pub(crate) fn keep_from_others(path: &Path) -> String {
    format!("run `chmod o-rwx,g-w {}`", path.display())
}

/// Where the agent of Azure Arc leaves its key files.
pub(crate) fn azure_arc_keys() -> PathBuf {
    "/var/opt/azcmagent/tokens".into()
}

/// Gives a new file to the owner of another one, so that a command run by root leaves nothing that the service's own user
/// cannot open.
///
/// # Errors
/// The system does not allow it.
pub(crate) fn give_to_owner_of(other: &Path, new: &File) -> io::Result<()> {
    let (other, now) = (std::fs::metadata(other)?, new.metadata()?);
    if (other.uid(), other.gid()) == (now.uid(), now.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(new, Some(other.uid()), Some(other.gid()))
}

/// The same for a new folder. A link in its place is not followed.
///
/// # Errors
/// The system does not allow it.
pub(crate) fn give_folder_to_owner_of(other: &Path, new: &Path) -> io::Result<()> {
    let (other, now) = (std::fs::metadata(other)?, std::fs::symlink_metadata(new)?);
    if (other.uid(), other.gid()) == (now.uid(), now.gid()) {
        return Ok(());
    }
    std::os::unix::fs::lchown(new, Some(other.uid()), Some(other.gid()))
}

/// Options to create a file that its owner alone may read, from the first moment on, or everybody.
pub(crate) fn creating(private: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(if private { 0o600 } else { 0o644 });
    options
}
