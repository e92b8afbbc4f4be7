//! What Oxpost costs with 10, 100, 1,000 and 10,000 accounts, each declared in proxy.toml with a sign-in of its own. With nothing that
//! grows but the accounts, a cost that depends on the others shows.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use oxpost_protocol::Secret;
use oxpost_tests::harness::{Oxpost, Problem, Running, Settings};
use oxpost_tests::office365::{Application, Mailbox, Tenant};
use oxpost_token_store::{KeySource, Mailbox as Address, PasswordHash, Store, TokenSet};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::client::connect;
use crate::process::{cpu, machine, memory};
use crate::stage::CLIENT_ID;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// How long it is left alone to see what that costs.
const IDLE: Duration = Duration::from_secs(60);

/// What runs once at the start (familiar sources, the first look at all accounts) is over by then.
const SETTLED: Duration = Duration::from_secs(10);

/// Accounts that log in, one after the other.
const LOGINS: usize = 50;

/// Accounts that are due at the same moment, at most: more take as long as the pace of token requests says.
const WAVE: usize = 1_000;

const PASSWORD: &str = "correct-horse-battery";

/// A life of tokens in which none is due while it is measured.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// The rows of the table.
const ROWS: [&str; 13] = [
    "`oxpost check`, ms",
    "`oxpost account apply`, first, ms",
    "`oxpost account apply`, nothing to change, ms",
    "start, until it listens, ms",
    "idle, CPU within a minute, % of a core",
    "memory after that (PSS), MiB",
    "`oxpost status`, ms",
    "first login, median, ms",
    "first login, 95th percentile, ms",
    "repeated login, median, ms",
    "repeated login, 95th percentile, ms",
    "refresh wave (all accounts, 1,000 at most), s",
    "CPU of a refresh, ms",
];

/// Measures all sizes and prints the table.
pub(crate) async fn measure() -> Result<(), Problem> {
    println!("{}\n", machine());
    let mut columns = Vec::new();
    for size in SIZES {
        eprintln!("{size} accounts …");
        columns.push(column(size).await?);
    }
    let mut table = String::from("| accounts |");
    for size in SIZES {
        let _ = write!(table, " {size} |");
    }
    table.push_str("\n|---|---|---|---|---|\n");
    for (row, name) in ROWS.iter().enumerate() {
        let _ = write!(table, "| {name} |");
        for column in &columns {
            let _ = write!(table, " {} |", column.get(row).copied().map_or_else(String::new, short));
        }
        table.push('\n');
    }
    println!("{table}");
    Ok(())
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn person(number: usize) -> String {
    format!("person{number}@contoso.com")
}

async fn column(size: usize) -> Result<Vec<f64>, Problem> {
    let people = (0..size).map(|number| Mailbox::user(&person(number)));
    let tenant = people
        .fold(Tenant::builder(), |tenant, mailbox| tenant.mailbox(mailbox))
        .application(Application::public(CLIENT_ID))
        .start()
        .await
        .map_err(problem)?;
    let hash = PasswordHash::of(&Secret::from(PASSWORD)).map_err(problem)?;
    let mut more = String::new();
    for number in 0..size {
        let _ = writeln!(more, "[[account]]\nmailbox = \"{}\"\npassword-hash = '{}'\n", person(number), hash.text());
    }
    let oxpost = Oxpost::new(&Settings { level: "info".into(), more, ..Settings::of(&tenant, CLIENT_ID) })?;
    let mut column = Vec::new();
    for arguments in [&["check"][..], &["account", "apply"], &["account", "apply"]] {
        column.push(command(&oxpost, arguments).await?);
    }
    sign_in(&oxpost, &tenant, size, LONG).await?;
    // Those that log in are due at the start, so that they have a token of the tenant's.
    sign_in(&oxpost, &tenant, LOGINS.min(size), Duration::ZERO).await?;

    let began = Instant::now();
    let running = oxpost.run().await?;
    column.push(milliseconds(began));
    tokio::time::sleep(SETTLED).await;
    let id = id(&running)?;
    let before = cpu(id)?;
    tokio::time::sleep(IDLE).await;
    column.push((cpu(id)? - before) * 100.0 / IDLE.as_secs_f64());
    column.push(memory(id)? / 1024.0);
    column.push(command(&oxpost, &["status"]).await?);
    let accounts = LOGINS.min(size);
    for _ in 0..2 {
        let mut times = Vec::new();
        for number in 0..accounts {
            let began = Instant::now();
            login(running.imap, &person(number)).await?;
            times.push(milliseconds(began));
        }
        times.sort_by(f64::total_cmp);
        column.extend([part(&times, 50), part(&times, 95)]);
    }
    running.stop().await?;

    let wave = WAVE.min(size);
    sign_in(&oxpost, &tenant, wave, Duration::ZERO).await?;
    let asked = tenant.token_requests().len();
    let running = oxpost.run().await?;
    let id = self::id(&running)?;
    let (began, before) = (Instant::now(), cpu(id)?);
    while tenant.token_requests().len() < asked + wave {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    column.push(began.elapsed().as_secs_f64());
    let each = (cpu(id)? - before) * 1e3 / f64::from(u32::try_from(wave).unwrap_or(u32::MAX));
    column.push(each);
    running.stop().await?;
    Ok(column)
}

fn id(running: &Running) -> Result<u32, Problem> {
    running.id().ok_or_else(|| Problem::new("it has ended"))
}

/// How long a command takes.
async fn command(oxpost: &Oxpost, arguments: &[&str]) -> Result<f64, Problem> {
    let began = Instant::now();
    let ran = oxpost.call(arguments).await?;
    // `status` ends with 3 if an account needs attention, such as one that is not refreshed here.
    if ran.status == Some(3) {
        drop(ran.report()?);
    } else {
        drop(ran.output()?);
    }
    Ok(milliseconds(began))
}

/// Everybody signs in, with tokens that live so long.
async fn sign_in(oxpost: &Oxpost, tenant: &Tenant, people: usize, lifetime: Duration) -> Result<(), Problem> {
    let key = KeySource::File(oxpost.folder().join("oxpost.key"));
    let store = Store::open(&oxpost.folder().join("oxpost.db"), key.read().map_err(problem)?).await.map_err(problem)?;
    for name in (0..people).map(person) {
        let tokens = TokenSet {
            access_token: Secret::from("replaced-at-the-first-refresh"),
            lifetime,
            refresh_token: Some(Secret::from(tenant.grant_refresh_token(CLIENT_ID, &name).map_err(problem)?)),
            identity: None,
        };
        let address = Address::parse(&name).map_err(problem)?;
        store.save_signed_in(&address, &tokens, Some(&name), SystemTime::now()).await.map_err(problem)?;
    }
    Ok(())
}

/// One login by IMAP, to the answer.
async fn login(address: SocketAddr, user: &str) -> Result<(), Problem> {
    let mut stream = BufReader::new(connect(address).await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.write_all(format!("a LOGIN {user} {PASSWORD}\r\n").as_bytes()).await?;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(Problem::new("the connection ended within a login"));
        }
        if line.starts_with("a OK") {
            return Ok(());
        }
        if line.starts_with("a ") {
            return Err(Problem::new(format!("a login failed: {}", line.trim_end())));
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The value below which so many percent of the sorted ones are.
fn part(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len().saturating_mul(percent) / 100).or(sorted.last()).copied().unwrap_or_default()
}

fn problem(error: impl std::fmt::Display) -> Problem {
    Problem::new(error.to_string())
}
