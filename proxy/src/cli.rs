//! The command line. Each command is a file; this one parses the arguments and prints errors.

mod account;
mod application;
mod ask;
mod block;
mod cert;
mod check;
mod doctor;
mod import;
mod mail;
mod mail_use;
pub(crate) mod nodes;
mod notify;
mod refused;
mod run;
mod sign_in;
mod status;
mod store;
mod table;
mod times;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use oxpost_token_store::database::sqlite;

use crate::config::Config;
use crate::platform;

/// The configuration file of the working directory, tried first.
const CONFIG_HERE: &str = "proxy.toml";

/// Connect software that supports only user names and passwords to Microsoft 365 mail
///
/// Oxpost listens for IMAP, POP3 and SMTP, checks a local password, and logs in to Microsoft 365 with an OAuth 2.0 access token
/// that it refreshes in the background.
#[derive(Debug, Parser)]
#[command(name = "oxpost", version, after_long_help = FIRST_STEPS)]
struct Arguments {
    /// The configuration file [default: ./proxy.toml, then the system-wide file]
    #[arg(long, short, global = true, env = "OXPOST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "First steps:
  1. Write your tenant and client id into proxy.toml (see docs/register-application.md).
  2. oxpost check
  3. oxpost account add scanner@contoso.com     prints the password for the mail program
  4. oxpost sign-in scanner@contoso.com         once, in a browser
  5. oxpost run
  6. Point the mail program at 127.0.0.1: IMAP 1143, POP3 1110, SMTP 1587.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service until Ctrl-C or SIGTERM
    Run,
    /// Check whether the service would start, and what keeps accounts from working; errors name the line and what to change
    ///
    /// Examines the configuration, the files that it names, the store and the addresses of the listeners, as `oxpost run` does, for the user who
    /// runs the command. It changes nothing and asks no server. Exit status: 0 if nothing is wrong, 1 otherwise.
    Check(check::Options),
    /// Add, list and remove accounts and their passwords for mail programs
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Store the client secret of an app registration
    #[command(subcommand)]
    Application(application::ApplicationCommand),
    /// Sign in an account at Microsoft, once, with a browser on this computer or another one
    SignIn(sign_in::SignInOptions),
    /// Maintain the store: key rotation, backup, restore
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Check every step from the configuration to the mailbox and explain how to fix failures
    ///
    /// Exit status: 0 if every check passes, 3 if one fails.
    Doctor(doctor::Options),
    /// Create a certificate for TLS with mail programs, and renew it before it expires
    ///
    /// Creates a private certificate authority in certs/, and a certificate for the names and addresses of this machine. Mail
    /// programs must trust that authority; the command prints how. Run the command again, for example from a monthly timer, to renew
    /// the certificate; a running service loads the new one. The command asks nothing and never overwrites other certificates.
    Cert(cert::Options),
    /// List and lift blocks of addresses with too many failed logins
    #[command(subcommand)]
    Block(block::BlockCommand),
    /// Import the configuration of email-oauth2-proxy or DavMail: listeners, applications, accounts, sign-ins
    ///
    /// First prints what it will do and what it cannot import. Then it asks for the old passwords, which decrypt the sign-ins of
    /// email-oauth2-proxy (without echo; if standard input is not a terminal, it reads one line for each account, in the order
    /// shown). It writes proxy.toml only if there is none, and otherwise prints what to add. Existing accounts are not changed, so the
    /// command can be repeated.
    Import(import::ImportOptions),
    /// Send a test notification
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    /// Show what happened to messages: did it go out, and what did Microsoft say?
    ///
    /// Reads the journal: every message that a client sent, with the results of its recipients, the mail server's reply and what to do
    /// about a refusal, but neither subject nor content. Times are those of this machine. The service need not run.
    Mail(mail::Options),
    /// Show whether the service runs, and the state of every account: sign-in, token expiry, errors
    ///
    /// Exit status: 0 if the service runs and every account works, 3 if something needs attention, 1 if the state cannot be read.
    Status(status::Options),
}

/// The exit status that a shell reports for a program ended by SIGPIPE.
const CLOSED_PIPE: i32 = 141;

/// Reads the arguments and runs the command.
pub fn main() -> ExitCode {
    end_quietly_on_a_closed_pipe();
    let arguments = Arguments::parse();
    let path = arguments.config.unwrap_or_else(find_config);
    match start(arguments.command, &path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { message, status }) => {
            eprintln!("oxpost: {message}");
            ExitCode::from(status)
        }
    }
}

/// How long the end of a command may take: tasks are dropped within milliseconds, unless a thread is stuck.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// How long the store may take to be closed, which writes its log into its file: milliseconds on a disk that works.
const CLOSING: Duration = Duration::from_secs(10);

fn start(command: Command, path: &std::path::Path) -> Result<(), Failed> {
    if let Err(error) = platform::forbid_core_dumps() {
        eprintln!("oxpost: core dumps cannot be disabled ({error}); a crash could write tokens to disk");
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failed::new(format!("cannot start: {error}")))?;
    let result = runtime.block_on(run(command, path));
    // Sessions that outlived the drain timeout are cut here. Dropping the tasks writes what rate-limited lines have counted; a
    // thread that still reads from a terminal or a disk is not waited for longer.
    runtime.shutdown_timeout(SHUTDOWN);
    if !sqlite::wait_until_closed(CLOSING) {
        eprintln!(
            "oxpost: the store could not be closed in time; keep its file ending in -wal, which holds the latest changes"
        );
    }
    result
}

/// Whether the program accepts a command line, which includes the program's name.
///
/// # Errors
/// The message that the program would print.
pub fn parses(words: &[&str]) -> Result<(), String> {
    Arguments::try_parse_from(words).map(drop).map_err(|error| error.to_string())
}

async fn run(command: Command, path: &std::path::Path) -> Result<(), Failed> {
    let config = || Config::load(path).map_err(Failed::new);
    match command {
        Command::Run => run::run(config()?).await,
        Command::Check(options) => check::check(&options, path).await,
        Command::Account(command) => account::run(command, &config()?).await,
        Command::Application(command) => application::run(command, &config()?).await,
        Command::SignIn(options) => sign_in::sign_in(&options, &config()?).await,
        Command::Store(command) => store::run(command, &config()?).await,
        // A configuration that cannot be used is the first line of its checklist.
        Command::Doctor(options) => doctor::doctor(options, path).await,
        Command::Cert(options) => cert::cert(&options, &config()?, path),
        Command::Block(command) => block::run(command, &config()?).await,
        // There may be no configuration yet.
        Command::Import(options) => import::import(&options, path).await,
        Command::Notify(command) => notify::run(&command, &config()?).await,
        Command::Mail(options) => mail::mail(&options, &config()?).await,
        Command::Status(options) => status::status(&options, &config()?).await,
    }
}

/// `oxpost account list | head -1` closes our standard output. `println!` panics then; the message would be noise.
fn end_quietly_on_a_closed_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to stdout") {
            std::process::exit(CLOSED_PIPE);
        }
        usual(panic);
    }));
}

fn find_config() -> PathBuf {
    let here = PathBuf::from(CONFIG_HERE);
    let installed = platform::default_config_file();
    if !here.exists() && installed.exists() { installed } else { here }
}

/// The exit status of a command that failed. 2 is a wrong command line (clap).
const FAILED: u8 = 1;

/// The exit status of a command that did its work and found that something needs attention: `status` and `doctor`.
const NEEDS_ATTENTION: u8 = 3;

/// Why a command does not end with the exit status 0.
#[derive(Debug)]
struct Failed {
    message: String,
    status: u8,
}

impl Failed {
    fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), status: FAILED }
    }

    /// The command has printed what it found, and something of it needs attention.
    fn needs_attention(message: impl Display) -> Self {
        Self { message: message.to_string(), status: NEEDS_ATTENTION }
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
