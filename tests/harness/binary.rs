//! The real `oxpost` program, as its users have it: commands, and a service that runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Problem;
use super::browser::SigningIn;
use super::built;
use super::followed_command::FollowedCommand;
use super::log::{Line, Log};
use super::program::{self, Ran};
use super::settings::{PROTOCOLS, Settings};
use crate::office365::{Protocol, Tenant};

/// How long the program may take to listen, to show a code, to stop. It decides no test: a healthy one needs a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The program in a folder of its own, which goes when this is dropped.
pub struct Oxpost {
    folder: TempDir,
    binary: PathBuf,
    variables: Vec<(String, String)>,
    /// What `oxpost run` is started by, if not by itself: a program and its arguments.
    under: Vec<String>,
}

impl Oxpost {
    /// Finds the program and writes its configuration.
    ///
    /// # Errors
    /// The program was not built, or the folder cannot be written.
    pub fn new(settings: &Settings) -> Result<Self, Problem> {
        let binary = built::find()?;
        let folder = tempfile::Builder::new().prefix("oxpost-").tempdir()?;
        settings.write(folder.path())?;
        Ok(Self { folder, binary, variables: Vec::new(), under: Vec::new() })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets an environment variable for everything that is run from now on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// From now on `oxpost run` is started by this program with these arguments, such as valgrind.
    pub fn run_under(&mut self, program_and_arguments: &[String]) {
        self.under = program_and_arguments.to_vec();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.under.split_first() {
            Some((program, first)) if arguments == ["run"] => {
                let mut command = Command::new(program);
                command.args(first).arg(&self.binary);
                command
            }
            _ => Command::new(&self.binary),
        };
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        // What the developer has set for a real one must not change this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OXPOST_")) {
            command.env_remove(name);
        }
        // No test opens a browser.
        for name in ["DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end: `oxpost ARGUMENTS`.
    ///
    /// # Errors
    /// It does not end. An exit status is no error here.
    pub async fn call(&self, arguments: &[&str]) -> Result<Ran, Problem> {
        self.call_with(arguments, "").await
    }

    /// The same, with something on its standard input.
    ///
    /// # Errors
    /// It does not end. An exit status is no error here.
    pub async fn call_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Result<Ran, Problem> {
        program::run(self.command(arguments), input.as_ref()).await
    }

    /// `oxpost account add`: gives back the password that it shows.
    ///
    /// # Errors
    /// It fails, or shows none.
    pub async fn add_account(&self, mailbox: &str, options: &[&str]) -> Result<String, Problem> {
        let arguments = [&["account", "add", mailbox], options].concat();
        let shown = String::from_utf8_lossy(&self.call(&arguments).await?.output()?).into_owned();
        let password = shown.lines().find_map(|line| line.trim().strip_prefix("password ")?.split_whitespace().next());
        password
            .map(str::to_owned)
            .ok_or_else(|| Problem::new(format!("`oxpost account add` shows no password:\n{shown}")))
    }

    /// `oxpost sign-in --device-code`: a person reads the code it shows and approves it on the page of the tenant as `person`.
    ///
    /// # Errors
    /// It fails, or shows no code.
    pub async fn sign_in(&self, mailbox: &str, tenant: &Tenant, person: &str) -> Result<String, Problem> {
        let mut command = self.command(&["sign-in", mailbox, "--device-code"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or_else(|| Problem::new("no standard output"))?);
        let mut stderr = child.stderr.take().ok_or_else(|| Problem::new("no standard error"))?;
        let waiting = async {
            let (mut shown, mut complaint, mut approved) = (String::new(), String::new(), false);
            loop {
                let mut line = String::new();
                if stdout.read_line(&mut line).await? == 0 {
                    break;
                }
                approved |= tenant.approve_device_code(line.trim(), person);
                shown.push_str(&line);
            }
            stderr.read_to_string(&mut complaint).await?;
            if child.wait().await?.success() && approved {
                return Ok(shown);
            }
            Err(Problem::new(format!(
                "`oxpost sign-in {mailbox}` failed (code approved: {approved}):\n{shown}{complaint}"
            )))
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        ended.unwrap_or_else(|_| Err(Problem::new(format!("`oxpost sign-in {mailbox}` does not end"))))
    }

    /// `oxpost sign-in` in one of the other ways, up to the moment when it shows the address to open.
    ///
    /// # Errors
    /// It ends before.
    pub async fn begin_sign_in(&self, mailbox: &str, flags: &[&str]) -> Result<SigningIn, Problem> {
        SigningIn::begin(self.command(&[&["sign-in", mailbox], flags].concat())).await
    }

    /// A command that goes on until Ctrl-C, such as `oxpost status --watch`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn watch(&self, arguments: &[&str]) -> Result<FollowedCommand, Problem> {
        FollowedCommand::begin(self.command(arguments))
    }

    /// `oxpost run`, up to the moment when it listens.
    ///
    /// # Errors
    /// It ends, or does not listen.
    pub async fn run(&self) -> Result<Running, Problem> {
        let mut child = self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| Problem::new("no standard error"))?;
        let log = Log::follow(BufReader::new(stderr));
        let mut addresses = Vec::new();
        for protocol in PROTOCOLS {
            let listening = |line: &Line<'_>| {
                (line.message() == "listening" && line.field("protocol").eq_ignore_ascii_case(protocol))
                    .then(|| line.field("address").parse::<SocketAddr>().ok())
                    .flatten()
            };
            addresses.push(log.wait(listening).await?);
        }
        match addresses.as_slice() {
            &[imap, pop3, smtp] => Ok(Running { child, log, imap, pop3, smtp }),
            _ => Err(Problem::new("not every protocol listens")),
        }
    }
}

/// A running `oxpost run`. It is killed when this is dropped.
pub struct Running {
    child: Child,
    log: Log,
    /// Where it listens for IMAP.
    pub imap: SocketAddr,
    /// Where it listens for POP3.
    pub pop3: SocketAddr,
    /// Where it listens for SMTP.
    pub smtp: SocketAddr,
}

impl Running {
    /// Where it listens for a protocol.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Imap => self.imap,
            Protocol::Pop3 => self.pop3,
            Protocol::Smtp => self.smtp,
        }
    }

    /// Its log so far: one JSON object per line.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until the log has a line that contains `words`.
    ///
    /// # Errors
    /// It does not appear in time.
    pub async fn wait_for_log(&self, words: &str) -> Result<String, Problem> {
        self.log.wait(|line| line.0.contains(words).then(|| line.0.to_owned())).await
    }

    /// Its process id; none if it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it, as `kill -9` or a power cut does.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn kill(mut self) -> Result<(), Problem> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop and waits for its end; gives back the whole log.
    ///
    /// # Errors
    /// It does not stop, or not in order.
    pub async fn stop(mut self) -> Result<String, Problem> {
        let in_order = ask_to_stop(&mut self.child).await?;
        self.wait_for_end(in_order).await
    }

    /// Waits for its end, which was requested before; returns the whole log.
    ///
    /// # Errors
    /// It does not stop, or not in order.
    pub async fn ended(self) -> Result<String, Problem> {
        self.wait_for_end(true).await
    }

    async fn wait_for_end(mut self, in_order: bool) -> Result<String, Problem> {
        let Ok(ended) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            return Err(Problem::new(format!("oxpost does not stop. Its log:\n{}", self.log())));
        };
        let status = ended?;
        self.log.whole().await;
        if status.success() || !in_order {
            Ok(self.log())
        } else {
            Err(Problem::new(format!("oxpost ended with {status}:\n{}", self.log())))
        }
    }
}

/// Sends SIGTERM. Gives back whether the program can end in order.
#[cfg(unix)]
async fn ask_to_stop(child: &mut Child) -> Result<bool, Problem> {
    if let Some(id) = child.id() {
        let mut kill = Command::new("/bin/sh");
        kill.args(["-c", &format!("kill -TERM {id}")]);
        program::run(kill, b"").await?.output()?;
    }
    Ok(true)
}

/// Kills the program. Windows asks a program by Ctrl-Break, which goes to all who share a console, the tests
/// included, unless a call of the system is made for which Rust has no safe form.
#[cfg(not(unix))]
async fn ask_to_stop(child: &mut Child) -> Result<bool, Problem> {
    child.start_kill()?;
    Ok(false)
}
