//! Windows.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlShutdown, ctrl_break, ctrl_c, ctrl_shutdown};

use super::Signal;

/// What to do when the system does not let us listen on a port. Low ports are like any other here.
pub(crate) const PORT_REFUSED_ADVICE: &str = "Another program uses this port exclusively, or Windows has reserved it \
     (`netsh interface ipv4 show excludedportrange tcp` lists such ranges). Choose another port in proxy.toml.";

/// Whether connections that have ended keep a port from being bound. Here they do not, and the option that says so would let two programs
/// share a port.
pub(crate) const PORT_OUTLIVES_SOCKET: bool = false;

/// The requests to stop: Ctrl-C, Ctrl-Break, and the shutdown of the machine.
pub(crate) struct Signals {
    interrupt: CtrlC,
    terminate: CtrlBreak,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// Begins to listen for them.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()?, terminate: ctrl_break()?, shutdown: ctrl_shutdown()? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.shutdown.recv() => {}
        }
        Signal::Stop
    }
}

/// Where the configuration is when there is none in the working directory.
pub(crate) fn default_config_file() -> PathBuf {
    program_data().join("Oxpost").join("proxy.toml")
}

fn program_data() -> PathBuf {
    std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into()).into()
}

/// Windows writes no dump of a process unless an administrator has switched that on for it.
///
/// # Errors
/// None.
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    Ok(())
}

/// Windows has no such limit for sockets.
///
/// # Errors
/// None.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    Ok(wanted)
}

/// Whether there is a desktop with a browser: there is, except in a session from another computer.
pub(crate) fn has_browser() -> bool {
    std::env::var_os("SSH_CONNECTION").is_none()
}

/// Opens an address in the default browser. `false` if it cannot be.
pub(crate) fn open_browser(address: &str) -> bool {
    // Not `cmd /c start`, for which an `&` in the address would begin another command.
    let mut command = Command::new("rundll32");
    command.args(["url.dll,FileProtocolHandler", address]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    has_browser() && command.spawn().is_ok()
}

/// Access lists are not read here: a file gets that of its folder, which the installer restricts.
pub(crate) fn others_may_read(_metadata: &Metadata) -> bool {
    false
}

/// What keeps a file from others.
pub(crate) fn keep_from_others(path: &Path) -> String {
    format!("restrict the access list of {} to the service's account", path.display())
}

/// Where the agent of Azure Arc leaves its key files.
pub(crate) fn azure_arc_keys() -> PathBuf {
    program_data().join("AzureConnectedMachineAgent").join("Tokens")
}

/// Who owns a new file is the folder's affair here.
///
/// # Errors
/// None.
pub(crate) fn give_to_owner_of(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// The same of a new folder.
///
/// # Errors
/// None.
pub(crate) fn give_folder_to_owner_of(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Options to create a file. Who may read it is said by the folder's access list, which it inherits.
pub(crate) fn creating(_: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}
