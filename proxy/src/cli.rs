//! The command line. Each command is a file; this one reads the arguments and reports how it went.

mod account;
mod application;
mod ask;
mod block;
mod cert;
mod check;
mod doctor;
mod import;
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

/// Where the configuration is looked for first.
const CONFIG_HERE: &str = "proxy.toml";

/// Oxpost lets software that only knows a user name and a password keep using Microsoft 365 mail.
///
/// It listens for IMAP, POP3 and SMTP, checks a password of its own, and logs in to Microsoft with an OAuth 2.0 token
/// that it keeps fresh.
#[derive(Debug, Parser)]
#[command(name = "oxpost", version, after_long_help = FIRST_STEPS)]
struct Arguments {
    /// The configuration file [default: ./proxy.toml, then the system's own place]
    #[arg(long, short, global = true, env = "OXPOST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "First steps:
  1. Write your tenant and client id into proxy.toml (docs/register-application.md shows where they come from).
  2. oxpost check
  3. oxpost account add scanner@contoso.com     prints the password for the mail program
  4. oxpost sign-in scanner@contoso.com         once, in a browser
  5. oxpost run
  6. Point the mail program at 127.0.0.1: IMAP 1143, POP3 1110, SMTP 1587.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until Ctrl-C or SIGTERM
    Run,
    /// Say whether the configuration can be used, and if not, what to change on which line
    Check,
    /// Add, list and remove accounts, and give them passwords for mail programs
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Keep the client secret of an app registration
    #[command(subcommand)]
    Application(application::ApplicationCommand),
    /// Connect an account with Microsoft: a person signs in once, in a browser here or elsewhere
    SignIn(sign_in::SignInOptions),
    /// Look after the store: a new key, backup, restore
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Walk the whole way to the mailbox and say at each step whether it is right, and if not, what to change
    Doctor(doctor::Options),
    /// Make a certificate for TLS towards mail programs, and renew it near its end; asks nothing, overwrites no other's
    ///
    /// Makes a certificate authority of your own in certs/, and a certificate for the names and addresses of this machine,
    /// which every mail program accepts that is told to trust that authority: it prints how. Run it again, by hand or once a
    /// month by the system, to renew it; a running service reads the new one by itself.
    Cert(cert::Options),
    /// List and lift the blocks of addresses that sent too many wrong logins
    #[command(subcommand)]
    Block(block::BlockCommand),
    /// Carry the configuration of email-oauth2-proxy or DavMail over: listeners, applications, accounts, sign-ins
    ///
    /// Says first what becomes of it, and what cannot be carried over. Then it asks for the old passwords, which open the
    /// sign-ins that email-oauth2-proxy has sealed with them (without an echo; from standard input, if that is no terminal,
    /// one line for each account in the order shown). It writes proxy.toml only where there is none, and otherwise prints
    /// what to add; accounts that are there stay as they are. So it can be run again at any time.
    Import(import::ImportOptions),
    /// Try out whether people would be told when they must act
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    /// Show every account: how it is signed in, until when its token lives, what is wrong with it
    Status(status::Options),
}

/// What a shell reports of a program that a closed pipe has ended.
const CLOSED_PIPE: i32 = 141;

/// Reads the arguments and runs the command.
pub fn main() -> ExitCode {
    end_quietly_on_a_closed_pipe();
    let arguments = Arguments::parse();
    let path = arguments.config.unwrap_or_else(find_config);
    match start(arguments.command, &path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(message)) => {
            eprintln!("oxpost: {message}");
            ExitCode::FAILURE
        }
    }
}

/// How long the end of a command may take: tasks are dropped within milliseconds, unless a thread is stuck.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// How long the store may take to be closed, which writes its log into its file: milliseconds on a disk that works.
const CLOSING: Duration = Duration::from_secs(10);

fn start(command: Command, path: &std::path::Path) -> Result<(), Failed> {
    if let Err(error) = platform::forbid_core_dumps() {
        eprintln!("oxpost: core dumps could not be switched off ({error}); a crash could write tokens to disk");
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failed::new(format!("cannot start: {error}")))?;
    let result = runtime.block_on(run(command, path));
    // Sessions that outlived the drain timeout are cut here. Dropping the tasks writes what rate-limited lines have counted; a
    // thread that still reads from a terminal or a disk is not waited for longer.
    runtime.shutdown_timeout(SHUTDOWN);
    if !sqlite::wait_until_closed(CLOSING) {
        eprintln!(
            "oxpost: the store is still being written; what is missing in its file is in the file ending in -wal"
        );
    }
    result
}

/// Whether a command line, the program's name included, is one the program takes.
///
/// # Errors
/// It is not; the text is what a person would see.
pub fn parses(words: &[&str]) -> Result<(), String> {
    Arguments::try_parse_from(words).map(drop).map_err(|error| error.to_string())
}

async fn run(command: Command, path: &std::path::Path) -> Result<(), Failed> {
    let config = || Config::load(path).map_err(Failed::new);
    match command {
        Command::Run => run::run(config()?).await,
        Command::Check => check::check(&config()?, path).await,
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
        Command::Status(options) => status::status(&options, &config()?).await,
    }
}

/// `oxpost account list | head -1` closes our standard output. `println!` panics then; nobody needs to see that.
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

/// A command that did not succeed, with the sentence for the person who typed it.
#[derive(Debug)]
struct Failed(String);

impl Failed {
    fn new(message: impl Display) -> Self {
        Self(message.to_string())
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
