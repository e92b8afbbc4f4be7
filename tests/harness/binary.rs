//! The real `oxpost` program, as its users have it: a configuration file, commands, and a service that runs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::Problem;
use super::program::{self, Ran};
use crate::office365::{Protocol, Tenant};

/// How long the program may take to listen, to show a code, to stop. It decides no test: a healthy one needs a second.
const PATIENCE: Duration = Duration::from_secs(60);

const PROTOCOLS: [&str; 3] = ["imap", "pop3", "smtp"];

/// What a generated proxy.toml says: one `[[provider]]` spelt out, one `[[application]]` that uses it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// IMAP with TLS from the first byte: the name its certificate carries, and the port.
    pub imap: (String, u16),
    /// The same for POP3.
    pub pop3: (String, u16),
    /// Submission with STARTTLS.
    pub smtp: (String, u16),
    /// The authority, without the tenant.
    pub authority: String,
    /// The tenant's id.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<String>,
    /// The certificate authorities to trust, PEM; no others are.
    pub trusted: String,
    /// How much is logged.
    pub level: String,
    /// Tables to be added at the end, such as `[limits]`.
    pub more: String,
}

impl Settings {
    /// A configuration that uses nothing but a simulated tenant.
    pub fn of(tenant: &Tenant, client_id: &str) -> Self {
        let local = |address: SocketAddr| ("localhost".to_owned(), address.port());
        Self {
            imap: local(tenant.imap()),
            pop3: local(tenant.pop3()),
            smtp: local(tenant.smtp()),
            authority: tenant.authority(),
            tenant: tenant.id().to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            trusted: tenant.ca_pem().to_owned(),
            level: "debug".into(),
            more: String::new(),
        }
    }

    /// Writes the configuration, and the files it names, into a folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join("proxy.toml"), self.toml())?;
        std::fs::write(folder.join("ca.pem"), &self.trusted)?;
        if let Some(secret) = &self.client_secret {
            std::fs::write(folder.join("client-secret.txt"), secret)?;
        }
        Ok(())
    }

    fn toml(&self) -> String {
        let mut text = format!("[log]\nlevel = {:?}\nformat = \"json\"\n\n", self.level);
        for protocol in PROTOCOLS {
            let _ = writeln!(text, "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\n");
        }
        let server = |(host, port): &(String, u16)| format!("host = {host:?}, port = {port}");
        let _ = writeln!(
            text,
            "[[provider]]\nname = \"test\"\n\
             imap = {{ {} }}\npop3 = {{ {} }}\nsmtp = {{ {}, tls = \"start-tls\" }}\n\
             authority = {:?}\n\
             delegated-scopes = [\"https://outlook.office.com/IMAP.AccessAsUser.All\", \
             \"https://outlook.office.com/POP.AccessAsUser.All\", \"https://outlook.office.com/SMTP.Send\", \"offline_access\"]\n\
             app-scopes = [\"https://outlook.office365.com/.default\"]\n",
            server(&self.imap),
            server(&self.pop3),
            server(&self.smtp),
            self.authority,
        );
        let _ = writeln!(
            text,
            "[[application]]\nname = \"default\"\nprovider = \"test\"\ntenant = {:?}\nclient-id = {:?}",
            self.tenant, self.client_id
        );
        if self.client_secret.is_some() {
            text.push_str("client-secret-file = \"client-secret.txt\"\n");
        }
        let _ = writeln!(text, "\n[trust]\nsystem-roots = false\nca-file = \"ca.pem\"\n\n{}", self.more);
        text
    }
}

/// The program in a folder of its own, which goes when this is dropped.
pub struct Oxpost {
    folder: TempDir,
    binary: PathBuf,
}

impl Oxpost {
    /// Finds the program and writes its configuration.
    ///
    /// # Errors
    /// The program was not built, or the folder cannot be written.
    pub fn new(settings: &Settings) -> Result<Self, Problem> {
        let binary = find_binary()?;
        let folder = tempfile::Builder::new().prefix("oxpost-").tempdir()?;
        settings.write(folder.path())?;
        Ok(Self { folder, binary })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        // What the developer has set for a real one must not change this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OXPOST_")) {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end: `oxpost ARGUMENTS`.
    ///
    /// # Errors
    /// It does not end. An exit status is no error here.
    pub async fn call(&self, arguments: &[&str]) -> Result<Ran, Problem> {
        program::run(self.command(arguments), b"").await
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

    /// `oxpost sign-in`: a person reads the code it shows and approves it on the page of the tenant as `person`.
    ///
    /// # Errors
    /// It fails, or shows no code.
    pub async fn sign_in(&self, mailbox: &str, tenant: &Tenant, person: &str) -> Result<String, Problem> {
        let mut command = self.command(&["sign-in", mailbox]);
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

    /// `oxpost run`, up to the moment when it listens.
    ///
    /// # Errors
    /// It ends, or does not listen.
    pub async fn run(&self) -> Result<Running, Problem> {
        let mut child = self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| Problem::new("no standard error"))?;
        let log = Log::default();
        tokio::spawn(log.clone().fill(BufReader::new(stderr)));
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
    /// There is none for a long time.
    pub async fn wait_for_log(&self, words: &str) -> Result<String, Problem> {
        self.log.wait(|line| line.0.contains(words).then(|| line.0.to_owned())).await
    }

    /// Its process id; none if it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to stop (SIGTERM) and waits for its end; gives back the whole log.
    ///
    /// # Errors
    /// It does not stop, or not in order.
    #[cfg(unix)]
    pub async fn stop(mut self) -> Result<String, Problem> {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("kill");
            kill.args(["-TERM", &id.to_string()]);
            program::run(kill, b"").await?.output()?;
        }
        let Ok(ended) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            return Err(Problem::new(format!("oxpost does not stop. Its log:\n{}", self.log())));
        };
        let status = ended?;
        self.log.whole().await;
        if status.success() {
            Ok(self.log())
        } else {
            Err(Problem::new(format!("oxpost ended with {status}:\n{}", self.log())))
        }
    }
}

/// A log that grows, and those who wait for a line of it.
#[derive(Clone)]
struct Log {
    text: Arc<Mutex<String>>,
    /// Counts the lines; closed at the end of the log.
    lines: Arc<Mutex<Option<watch::Sender<usize>>>>,
    grown: watch::Receiver<usize>,
}

impl Default for Log {
    fn default() -> Self {
        let (sender, grown) = watch::channel(0);
        Self { text: Arc::default(), lines: Arc::new(Mutex::new(Some(sender))), grown }
    }
}

impl Log {
    async fn fill(self, mut from: impl AsyncBufRead + Unpin) {
        let sender = self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
            self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&bytes));
            bytes.clear();
            if let Some(sender) = &sender {
                sender.send_modify(|count| *count += 1);
            }
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first thing that `find` finds in a line, now or later.
    async fn wait<T>(&self, find: impl Fn(&Line<'_>) -> Option<T>) -> Result<T, Problem> {
        let mut grown = self.grown.clone();
        let waiting = async {
            loop {
                grown.mark_unchanged();
                if let Some(found) = self.text().lines().find_map(|line| find(&Line(line))) {
                    return Some(found);
                }
                if grown.changed().await.is_err() {
                    // The end of the log; its last line may have come just before.
                    return self.text().lines().find_map(|line| find(&Line(line)));
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Problem::new(format!("oxpost has ended. Its log:\n{}", self.text()))),
            Err(_) => Err(Problem::new(format!("oxpost does not log what was waited for. Its log:\n{}", self.text()))),
        }
    }

    /// Waits for the end of the log.
    async fn whole(&self) {
        let mut grown = self.grown.clone();
        let _ = tokio::time::timeout(PATIENCE, async { while grown.changed().await.is_ok() {} }).await;
    }
}

/// One line of the log.
struct Line<'a>(&'a str);

impl Line<'_> {
    fn message(&self) -> String {
        self.field("message")
    }

    fn field(&self, name: &str) -> String {
        let object: serde_json::Value = serde_json::from_str(self.0).unwrap_or_default();
        object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// The program beside this one: `target/debug/oxpost`, seen from `target/debug/deps/interop-…` or `target/debug/demo`.
fn find_binary() -> Result<PathBuf, Problem> {
    let name = format!("oxpost{}", std::env::consts::EXE_SUFFIX);
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(&name)).find(|file| file.is_file());
    let release = if this.components().any(|part| part.as_os_str() == "release") { " --release" } else { "" };
    let build = format!("cargo build --package oxpost{release}");
    let found = found.ok_or_else(|| Problem::new(format!("the program oxpost was not built. Run: {build}")))?;
    let built = std::fs::metadata(&found).and_then(|metadata| metadata.modified());
    if let (Ok(built), Some(changed)) = (built, newest_source())
        && built < changed
    {
        eprintln!("{} is older than its sources. To test what they say now: {build}", found.display());
    }
    Ok(found)
}

fn newest_source() -> Option<SystemTime> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    ["proxy/src", "protocol/src", "token-store/src"].iter().filter_map(|folder| newest_within(&root.join(folder))).max()
}

fn newest_within(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            if metadata.is_dir() { newest_within(&entry.path()) } else { metadata.modified().ok() }
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_is_waited_for_until_its_end() {
        let log = Log::default();
        let (mut write, read) = tokio::io::duplex(64);
        tokio::spawn(log.clone().fill(BufReader::new(read)));
        let waiting = log.wait(|line| (line.message() == "two").then(|| line.field("n")));
        let writing = async {
            tokio::io::AsyncWriteExt::write_all(
                &mut write,
                b"{\"message\":\"one\"}\nnoise\n{\"message\":\"two\",\"n\":\"2\"}\n",
            )
            .await
        };
        let (found, written) = tokio::join!(waiting, writing);
        written.unwrap();
        assert_eq!(found.unwrap(), "2");
        drop(write);
        let problem = log.wait(|line| (line.message() == "three").then_some(())).await.unwrap_err().to_string();
        assert!(problem.contains("oxpost has ended") && problem.contains("noise"), "{problem}");
    }

    #[test]
    fn the_generated_configuration_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            imap: ("localhost".into(), 1),
            pop3: ("localhost".into(), 2),
            smtp: ("127.0.0.1".into(), 3),
            authority: "https://localhost:4".into(),
            tenant: "contoso.com".into(),
            client_id: "a-b".into(),
            client_secret: None,
            trusted: String::new(),
            level: "info".into(),
            more: "[limits]\nlogin-timeout = \"5s\"\n".into(),
        };
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, settings.toml()).unwrap();
        let config = oxpost::Config::load(&file).unwrap();
        assert_eq!(config.servers.get("default").unwrap().smtp.port, 3);
        assert_eq!(config.limits.login_timeout, Duration::from_secs(5));
    }
}
