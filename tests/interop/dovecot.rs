//! A real Dovecot as the upstream: private, in a temporary folder, on a loopback address of its own, under an
//! unprivileged user. It verifies the tenant's access tokens itself, with the tenant's key, and accepts nothing else.

mod lmtp_bridge;

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{Problem, find};
use oxpost_tests::office365::TokenKey;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::certificate;
use lmtp_bridge::Bridge;

/// How long it may take to listen. A healthy one needs half a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs Dovecot in the foreground until standard input ends. That happens also when the test process is killed, so
/// nothing is ever left behind.
const UNTIL_INPUT_ENDS: &str = "exec 3<&0; \"$@\" 3<&- </dev/null & server=$!
(cat <&3 >/dev/null; kill -TERM $server 2>/dev/null) & wait $server";

/// The services that the configuration uses, each a package of its own at Debian.
const SERVICES: [&str; 4] = ["imap", "pop3", "lmtp", "submission"];
/// Where Debian keeps them.
const SERVICE_FOLDER: &str = "/usr/lib/dovecot";

pub struct Dovecot {
    folder: TempDir,
    host: IpAddr,
    first_port: u16,
    authority: String,
    shell: Child,
    _bridge: Bridge,
}

impl Dovecot {
    /// Starts one with a mailbox for each of these addresses, and waits until it listens.
    pub async fn start(key: &TokenKey, mailboxes: &[&str]) -> Result<Self, Problem> {
        let program = find("dovecot")?;
        for service in SERVICES {
            if !Path::new(SERVICE_FOLDER).join(service).is_file() {
                return Err(Problem::new(format!("Dovecot's {service} is not installed. Run: ./tests/install")));
            }
        }
        check_version(&program)?;
        let (host, first_port) = own_address();
        let bridge = Bridge::open(SocketAddr::new(host, first_port + 3)).await?;
        // A short path: the name of a unix socket ends at 107 bytes.
        let folder = tempfile::Builder::new().prefix("dovecot-").tempdir_in("/tmp")?;
        let person = Person::of_this_test()?;
        let certificate = certificate::issue();
        let fill = |text: &str| {
            let port = |number: u16| (first_port + number).to_string();
            text.replace("{FOLDER}", &folder.path().to_string_lossy())
                .replace("{HOST}", &host.to_string())
                .replace("{USER}", &person.user)
                .replace("{GROUP}", &person.group)
                .replace("{IMAP_PORT}", &port(0))
                .replace("{POP3_PORT}", &port(1))
                .replace("{SMTP_PORT}", &port(2))
                .replace("{LMTP_PORT}", &port(3))
                .replace("{BRIDGE_HOST}", &bridge.address.ip().to_string())
                .replace("{BRIDGE_PORT}", &bridge.address.port().to_string())
                .replace("{ISSUER}", &key.issuer)
                .replace("{AUDIENCE_KEY}", audience_key())
                .replace("{AUDIENCE}", key.audience)
        };
        let home = |address: &&str| format!("{address}:::::{}/homes/{address}::\n", folder.path().display());
        let keys = folder.path().join("keys/default/HS256");
        std::fs::create_dir_all(&keys)?;
        for (name, text) in [
            ("dovecot.conf", fill(include_str!("dovecot/dovecot.conf"))),
            ("oauth2.conf", fill(include_str!("dovecot/oauth2.conf"))),
            ("users", mailboxes.iter().map(home).collect()),
            ("refused", String::new()),
            ("ca.pem", certificate.authority.clone()),
            ("certificate.pem", certificate.certificate),
            ("key.pem", certificate.key),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        std::fs::write(keys.join(key.id), STANDARD.encode(&key.secret))?;
        std::fs::create_dir(folder.path().join("homes"))?;
        person.takes(folder.path())?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", UNTIL_INPUT_ENDS, "sh"])
            .arg(&program)
            .arg("-F")
            .arg("-c")
            .arg(folder.path().join("dovecot.conf"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        person.runs(&mut command);
        let shell = command.spawn()?;
        let mut dovecot = Self { folder, host, first_port, authority: certificate.authority, shell, _bridge: bridge };
        dovecot.wait_until_it_listens().await?;
        Ok(dovecot)
    }

    /// IMAP with TLS from the first byte.
    pub fn imap(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.first_port)
    }

    /// POP3 with TLS from the first byte.
    pub fn pop3(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.first_port + 1)
    }

    /// Submission with STARTTLS.
    pub fn smtp(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.first_port + 2)
    }

    /// The authority of its certificate, which is for localhost and 127.0.0.1: it is reached through a forwarder.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Refuses every token of this user from now on; nobody's, if there is none.
    pub async fn refuse_tokens_of(&self, user: Option<&str>) {
        let text = user.map(|user| format!("{user}:\n")).unwrap_or_default();
        std::fs::write(self.folder.path().join("refused"), text).expect("the folder can be written");
        // Dovecot looks whether the file has changed once in each second of its clock.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    async fn wait_until_it_listens(&mut self) -> Result<(), Problem> {
        let listening = async {
            for number in 0..4 {
                while TcpStream::connect((self.host, self.first_port + number)).await.is_err() {
                    if self.shell.try_wait()?.is_some() {
                        return Err(Problem::new("it has ended"));
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Ok(())
        };
        let listened = tokio::time::timeout(PATIENCE, listening).await;
        match listened.unwrap_or_else(|_| Err(Problem::new("it does not listen"))) {
            Ok(()) => Ok(()),
            Err(problem) => {
                self.stop();
                let mut said = String::new();
                if let Some(stderr) = &mut self.shell.stderr {
                    stderr.read_to_string(&mut said)?;
                }
                Err(Problem::new(format!("Dovecot: {problem}\n{said}{}", self.log())))
            }
        }
    }

    fn stop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Dovecot's log:\n{}", self.log());
        }
        self.stop();
    }
}

/// Dovecot 2.4 reads another configuration language.
fn check_version(program: &Path) -> Result<(), Problem> {
    let version = Command::new(program).arg("--version").output()?.stdout;
    let version = String::from_utf8_lossy(&version);
    if version.starts_with("2.3.") {
        return Ok(());
    }
    Err(Problem::new(format!("these tests are written for Dovecot 2.3 (as in Debian 12); here is {}", version.trim())))
}

/// Older versions compare the audience under the name of the scope; Debian 12 has both kinds under one version number.
fn audience_key() -> &'static str {
    let program = std::fs::read(Path::new(SERVICE_FOLDER).join("auth")).unwrap_or_default();
    let knows = b"Token audience does not include";
    if program.windows(knows.len()).any(|part| part == knows) { "audience" } else { "scope" }
}

/// An address of 127.0.0.0/8 for this process and ports for this server, so that tests that run side by side, even in
/// several processes, do not take each other's.
fn own_address() -> (IpAddr, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 + high % 128, middle, low);
    (host.into(), 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000 * 10)
}

/// The user of all its processes: that of the test or, if that is root, an unprivileged one.
struct Person {
    user: String,
    group: String,
    ids: Option<(u32, u32)>,
}

impl Person {
    fn of_this_test() -> Result<Self, Problem> {
        let root = nix::unistd::geteuid().is_root();
        let no_name = || Problem::new("this user has no name or group on this system");
        let user = if root {
            nix::unistd::User::from_name("nobody")
        } else {
            nix::unistd::User::from_uid(nix::unistd::geteuid())
        };
        let user = user.ok().flatten().ok_or_else(no_name)?;
        let group = nix::unistd::Group::from_gid(user.gid).ok().flatten().ok_or_else(no_name)?;
        let ids = root.then(|| (user.uid.as_raw(), user.gid.as_raw()));
        Ok(Self { user: user.name, group: group.name, ids })
    }

    /// Gives a folder and all that is in it to this user.
    fn takes(&self, path: &Path) -> Result<(), Problem> {
        let Some((user, group)) = self.ids else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user), Some(group))?;
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                self.takes(&entry?.path())?;
            }
        }
        Ok(())
    }

    fn runs(&self, command: &mut Command) {
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
    }
}
