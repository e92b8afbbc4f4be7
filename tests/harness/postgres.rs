//! A real PostgreSQL server of the test's own, in a temporary folder, on a Unix socket and a port of 127.0.0.1.
//!
//! Nothing but the standard library and `tempfile` is used here: the token store's own tests include this file too.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The server's superuser, trusted on its socket.
const ADMIN: &str = "postgres";

/// The user the store is opened as; over TCP the password is asked for.
pub const USER: &str = "oxpost";

/// Its password.
pub const PASSWORD: &str = "a-password-of-the-database";

/// A server. It ends when this is dropped, and also when the process dies of anything else.
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    databases: AtomicUsize,
    /// Dropped before `watcher` is waited for: its end is what the watcher waits for.
    lifeline: Option<ChildStdin>,
    watcher: Child,
}

impl Postgres {
    /// Makes a server and starts it. `settings` are lines for postgresql.conf, `files` go into its data folder.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start.
    pub fn start(settings: &str, files: &[(&str, &str)]) -> io::Result<Self> {
        let programs = programs()?;
        let owner = unprivileged()?;
        let folder = tempfile::Builder::new().prefix("oxpost-postgres-").tempdir()?.keep();
        let (data, port) = (folder.join("data"), free_port()?);
        let own = |path: &Path| owner.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)));
        own(&folder)?;
        // PostgreSQL has no switch that ends it with its parent. This shell reads from a pipe that only we hold.
        let stop = "read -r _; \"$0/pg_ctl\" -D \"$1/data\" -m immediate stop >/dev/null 2>&1; rm -rf \"$1\"";
        let mut watcher = as_owner(Command::new("/bin/sh"), owner)
            .args([Path::new("-c"), Path::new(stop), &programs, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let lifeline = watcher.stdin.take();
        let server = Self { folder, programs, owner, port, databases: AtomicUsize::new(0), lifeline, watcher };
        let options =
            ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"];
        server
            .program("initdb", &[&["--username", ADMIN, "--pgdata", &data.to_string_lossy()], &options[..]].concat())?;
        for (name, text) in files {
            let file = data.join(name);
            std::fs::write(&file, text)?;
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))?;
            own(&file)?;
        }
        let conf = data.join("postgresql.conf");
        let socket = server.folder.display();
        let ours = format!(
            "{}\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{socket}'\n\
             max_connections = 200\n{settings}\n",
            std::fs::read_to_string(&conf)?
        );
        std::fs::write(&conf, ours)?;
        server.up()?;
        server.sql(ADMIN, &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"))?;
        Ok(server)
    }

    /// Makes an empty database that belongs to [`USER`], and gives back its name.
    ///
    /// # Errors
    /// The server does not run.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("store{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(ADMIN, &format!("CREATE DATABASE {name} OWNER {USER}"))?;
        Ok(name)
    }

    /// The URL of a database through the Unix socket, where no password is asked for.
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgresql://{USER}@{folder}:{}/{database}", self.port)
    }

    /// The URL of a database on 127.0.0.1, where [`PASSWORD`] is asked for.
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as the superuser, and gives back what psql prints: rows as lines, columns separated by `|`.
    ///
    /// # Errors
    /// The server does not do it.
    pub fn sql(&self, database: &str, sql: &str) -> io::Result<String> {
        let (folder, port) = (self.folder.to_string_lossy().into_owned(), self.port.to_string());
        let whom = ["-h", &folder, "-p", &port, "-U", ADMIN, "-d", database];
        self.program("psql", &[&whom[..], &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]].concat())
    }

    /// Starts the server, which is stopped.
    ///
    /// # Errors
    /// It does not start; the error has its log.
    pub fn up(&self) -> io::Result<()> {
        let log = self.folder.join("log");
        let (data, log_name) = (self.data(), log.to_string_lossy().into_owned());
        self.program("pg_ctl", &["-D", &data, "-l", &log_name, "-w", "start"]).map(drop).map_err(|error| {
            io::Error::other(format!("{error}\n{}", std::fs::read_to_string(&log).unwrap_or_default()))
        })
    }

    /// Stops the server: `fast` closes its connections in order, `immediate` is a crash.
    ///
    /// # Errors
    /// It does not run.
    pub fn down(&self, how: &str) -> io::Result<()> {
        self.program("pg_ctl", &["-D", &self.data(), "-m", how, "-w", "stop"]).map(drop)
    }

    fn data(&self) -> String {
        self.folder.join("data").to_string_lossy().into_owned()
    }

    fn program(&self, name: &str, arguments: &[&str]) -> io::Result<String> {
        let mut command = as_owner(Command::new(self.programs.join(name)), self.owner);
        // A file for what it says, not a pipe: the server it leaves behind would keep a pipe open.
        let said = tempfile::tempfile()?;
        let complaint = said.try_clone()?;
        let status =
            command.args(arguments).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(complaint).status()?;
        let text = read_from_start(said)?;
        if status.success() { Ok(text) } else { Err(io::Error::other(format!("{name} ended with {status}: {text}"))) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.watcher.wait();
    }
}

fn read_from_start(mut file: std::fs::File) -> io::Result<String> {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Where the newest PostgreSQL's programs are: Debian keeps each version in a folder of its own, outside PATH.
fn programs() -> io::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    found.sort();
    let in_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .find(|folder| folder.join("initdb").is_file());
    found.pop().map(|(_, folder)| folder).or(in_path).ok_or_else(|| {
        io::Error::other("PostgreSQL is not installed, and this test plays with it. Run: ./tests/install")
    })
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made, or as an unprivileged one.
fn unprivileged() -> io::Result<Option<(u32, u32)>> {
    let id = |arguments: &[&str]| -> io::Result<Option<u32>> {
        let output = Command::new("id").args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success()))
    };
    if id(&["-u"])? != Some(0) {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if let (Some(user), Some(group)) = (id(&["-u", user])?, id(&["-g", user])?) {
            return Ok(Some((user, group)));
        }
    }
    Err(io::Error::other(
        "PostgreSQL refuses to run as root, and neither its package's user nor an unprivileged one exists",
    ))
}

fn as_owner(mut command: Command, owner: Option<(u32, u32)>) -> Command {
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    // The current directory may be a folder that the owner may not enter.
    command.current_dir("/");
    command
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
