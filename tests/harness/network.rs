//! A network of the test's own, in which clients have any number of source addresses.
//!
//! Oxpost treats this machine's loopback differently from the rest of the world, so a test of what it does to a *source*
//! needs addresses that are not loopback. [`in_own_network`] runs a test once more, in a process of its own in a network
//! namespace of its own: the simulated tenant, Oxpost and all clients are in there, and every address of
//! `198.18.0.0/15` and `2001:db8::/32` is theirs. Nothing outside is reachable, ports cannot collide, and all of it is
//! gone when that process ends, however it ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use super::{Problem, find};

/// Set in the process that is in the network.
const INSIDE: &str = "OXPOST_TEST_NETWORK";

/// Most that such a test may take.
const LIMIT: Duration = Duration::from_secs(240);

/// For benchmarks of networks (RFC 2544), so in no route of a developer's machine.
const IPV4: &str = "198.18.0.0/15";

/// For documentation (RFC 3849).
const IPV6: &str = "2001:db8::/32";

/// Lets a client bind an address that a route makes local but that no interface has.
const BIND_ANY_IPV6: &str = "/proc/sys/net/ipv6/ip_nonlocal_bind";

/// The addresses of the network.
#[derive(Clone, Copy, Debug)]
pub struct Network(());

impl Network {
    /// Where Oxpost listens for IPv4.
    pub const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

    /// Where Oxpost listens for IPv6.
    pub const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

    /// A client's address. Each number has a /24 of its own, so that no two share a network.
    pub fn client_v4(self, number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 19, number, 10))
    }

    /// A client's address. Each number has a /48 of its own.
    pub fn client_v6(self, number: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, number.saturating_add(1), 0, 0, 0, 0, 10))
    }

    /// An address close to another one: in the same /24, or the same /64.
    pub fn neighbor(self, of: IpAddr, number: u8) -> IpAddr {
        match of {
            IpAddr::V4(of) => {
                let [a, b, c, _] = of.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, number))
            }
            IpAddr::V6(of) => {
                let [a, b, c, d, ..] = of.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 1, number.into()))
            }
        }
    }

    /// A connection to Oxpost from such an address.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect(self, source: IpAddr, to: SocketAddr) -> Result<TcpStream, Problem> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let refused = |error| Problem::new(format!("cannot connect from {source} to {to}: {error}"));
        socket.bind(SocketAddr::new(source, 0)).map_err(refused)?;
        let connected = tokio::time::timeout(Duration::from_secs(60), socket.connect(to)).await;
        connected
            .map_err(|_| Problem::new(format!("no connection from {source} to {to} within 60 s")))?
            .map_err(refused)
    }
}

/// Runs the test that calls this in a network of its own. It is all that the test does:
///
/// ```ignore
/// #[test]
/// fn a_blocked_source_is_refused() {
///     in_own_network(async |network| { ... });
/// }
/// ```
///
/// # Panics
/// The story has failed, or this user may not make a network; then the message says what to do.
#[allow(clippy::panic, reason = "it stands for the test itself")]
pub fn in_own_network(story: impl AsyncFnOnce(Network)) {
    let outcome = if std::env::var_os(INSIDE).is_some() { play(story) } else { run_inside() };
    if let Err(problem) = outcome {
        panic!("{problem}");
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// In the network: builds it up and plays the story.
fn play(story: impl AsyncFnOnce(Network)) -> Result<(), Problem> {
    // The parent process holds the other end. If it is killed, everything in here ends too.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    let ip = find("ip")?;
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["route", "add", "local", IPV4, "dev", "lo"],
        &["-6", "route", "add", "local", IPV6, "dev", "lo"],
    ] {
        let done = Command::new(&ip).args(arguments).stdin(Stdio::null()).output()?;
        if !done.status.success() {
            let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(Problem::new(format!("`ip {}` failed: {complaint}", arguments.join(" "))));
        }
    }
    std::fs::write(BIND_ANY_IPV6, "1").map_err(|error| Problem::new(format!("{BIND_ANY_IPV6}: {error}")))?;
    runtime()?.block_on(story(Network(())));
    Ok(())
}

/// Outside: starts this test once more, inside, and shows what it said.
fn run_inside() -> Result<(), Problem> {
    find("ip")?;
    let unshare = find("unshare")?;
    let new = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // Everybody but root needs a user namespace first, in which they keep their own id.
    let as_user: &[&str] = if is_root()? { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
    let options = [as_user, &new].concat();
    let tried = Command::new(&unshare).args(&options).arg("true").stdin(Stdio::null()).output()?;
    if !tried.status.success() {
        return Err(Problem::new(not_permitted(&String::from_utf8_lossy(&tried.stderr))));
    }
    let thread = std::thread::current();
    let test = thread.name().ok_or_else(|| Problem::new("the thread of this test has no name"))?;
    let mut command = tokio::process::Command::new(unshare);
    command.args(&options).arg(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = runtime()?.block_on(async {
        let mut child = command.spawn()?;
        // Held until it has ended: see `play`. `wait_with_output` would close it first.
        let _lifeline = child.stdin.take();
        match tokio::time::timeout(LIMIT, child.wait_with_output()).await {
            Ok(output) => Ok(output?),
            Err(_) => Err(Problem::new(format!("{test} has not ended within {} s", LIMIT.as_secs()))),
        }
    })?;
    let output = String::from_utf8_lossy(&ended.stdout);
    // Set off, so that a script that counts results does not count this one twice.
    let said: String = output
        .lines()
        .chain(String::from_utf8_lossy(&ended.stderr).lines())
        .map(|line| format!("  | {line}\n"))
        .collect();
    println!("{said}");
    if ended.status.success() && output.contains("test result: ok. 1 passed; 0 failed") {
        return Ok(());
    }
    Err(Problem::new(format!("{test} failed in its own network ({}); see above", ended.status)))
}

/// Whether this process is root's: then it owns `/proc/self`.
fn is_root() -> Result<bool, Problem> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

fn not_permitted(complaint: &str) -> String {
    format!(
        "This test needs a network namespace of its own, and this user may not make one: {}\n\
         Run the tests as root (in a container: with --privileged), or allow user namespaces: \
         `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), \
         `sudo sysctl kernel.unprivileged_userns_clone=1` (older Debian), \
         `sudo sysctl user.max_user_namespaces=10000` (Red Hat)",
        complaint.trim()
    )
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn two_hundred_sources_of_each_family_reach_the_gateway() {
        in_own_network(async |network| {
            let v4 = TcpListener::bind((Network::GATEWAY_V4, 143)).await.unwrap();
            let v6 = TcpListener::bind((Network::GATEWAY_V6, 143)).await.unwrap();
            for number in 0..200 {
                for (listener, source) in [(&v4, network.client_v4(number)), (&v6, network.client_v6(number.into()))] {
                    for source in [source, network.neighbor(source, 200)] {
                        let to = listener.local_addr().unwrap();
                        let (client, accepted) = tokio::join!(network.connect(source, to), listener.accept());
                        assert_eq!(accepted.unwrap().1.ip(), source);
                        assert!(!source.is_loopback() && client.is_ok());
                    }
                }
            }
        });
    }

    /// The same address and port as in the test above, which may run at the same time.
    #[test]
    fn a_network_reaches_nothing_outside() {
        in_own_network(async |network| {
            let _listener = TcpListener::bind((Network::GATEWAY_V4, 143)).await.unwrap();
            let outside = SocketAddr::from(([192, 0, 2, 1], 9));
            let problem = network.connect(network.client_v4(0), outside).await.unwrap_err().to_string();
            assert!(problem.contains("unreachable"), "{problem}");
        });
    }

    /// A failure inside fails the test, and a child process of the story ends with it without being stopped.
    #[test]
    fn a_story_that_panics_fails_and_leaves_nothing() {
        // The same inside and outside, and another one in another checkout.
        let mut hasher = DefaultHasher::new();
        std::env::current_exe().unwrap().hash(&mut hasher);
        let seconds = (1_000_000_000 + hasher.finish() % 1_000_000_000).to_string();
        let outcome = std::panic::catch_unwind(|| {
            in_own_network(async |_| {
                let mut child = Command::new("sleep").arg(&seconds).spawn().unwrap();
                assert!(is_running(&seconds) && child.try_wait().unwrap().is_none());
                panic!("as a failed assertion does");
            });
        });
        let panic = outcome.expect_err("it passed although its story panics");
        if std::env::var_os(INSIDE).is_some() {
            std::panic::resume_unwind(panic);
        }
        let words = panic.downcast_ref::<String>().unwrap();
        assert!(words.contains("failed in its own network"), "{words}");
        assert!(!is_running(&seconds), "a program of the story goes on");
    }

    fn is_running(sleep: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
        let called = format!("sleep\0{sleep}\0");
        processes.filter_map(|file| std::fs::read_to_string(file).ok()).any(|line| line == called)
    }

    #[test]
    fn what_is_not_permitted_says_what_helps() {
        let text = not_permitted("unshare: unshare failed: Operation not permitted\n");
        assert!(text.contains("Operation not permitted\n") && text.contains("sudo sysctl"), "{text}");
    }
}
