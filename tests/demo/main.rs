//! `cargo demo`: the whole of Oxpost on this machine, without an account anywhere.
//!
//! A simulated Microsoft 365 tenant, the real `oxpost` program in front of it, and a session of each protocol. Then it
//! stays up for the reader's own mail client until Ctrl-C; `--once` ends it there.

mod columns;
mod mail;

use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use oxpost_tests::harness::{Oxpost, Problem, Running, Settings};
use oxpost_tests::office365::{Application, Mailbox, Tenant};

use columns::Columns;

/// Whose mailbox it is.
const ALICE: &str = "alice@contoso.com";

/// The app registration of the simulated tenant.
const CLIENT_ID: &str = "6f1f2a34-58c1-4a7b-9d3e-0c5b7a9e1d22";

/// How long access tokens live while the demo shows one expiring. Real ones live 60 to 90 minutes.
const SHORT_LIFE: Duration = Duration::from_secs(8);

/// How many seconds the demo waits for two refreshes; they take twelve.
const PATIENCE: u32 = 60;

/// How long they live afterwards.
const LONG_LIFE: Duration = Duration::from_mins(75);

/// The ports of the shipped proxy.toml, taken when they are free.
const USUAL_PORTS: [u16; 3] = [1143, 1110, 1587];

#[tokio::main]
async fn main() -> ExitCode {
    let once = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--once") => true,
        Some(_) => {
            println!(
                "cargo demo [--once]\n\nShows Oxpost at work against a simulated Microsoft 365, and stays up for your own mail \
                 client.\n--once  end after the show"
            );
            return ExitCode::FAILURE;
        }
    };
    match demo(once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\nThe demo failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(once: bool) -> Result<(), Problem> {
    println!("Oxpost: mail for software that only knows a user name and a password.\n");
    build_oxpost().await?;
    let tenant = start_tenant().await?;
    let oxpost = Oxpost::new(&settings(&tenant))?;
    let password = set_up(&oxpost, &tenant).await?;
    let running = start_proxy(&oxpost).await?;
    show_the_protocols(&tenant, &running, &password).await?;
    show_a_token_expiring(&tenant, &running, &password).await?;
    show_a_wrong_password(&tenant, &running).await?;
    if !once {
        stay_up(&oxpost, &running, &password).await?;
    }
    running.stop().await?;
    println!("Stopped. Nothing is left behind: the store was in a temporary folder.");
    Ok(())
}

/// The demo is run by cargo, which has built the demo and not the program it shows.
async fn build_oxpost() -> Result<(), Problem> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    println!("Building the oxpost program (a few minutes the first time) …");
    let mut build = tokio::process::Command::new(cargo);
    build.args(["build", "--quiet", "--package", "oxpost", "--bin", "oxpost"]).stdin(Stdio::null());
    if build.status().await?.success() {
        Ok(())
    } else {
        Err(Problem::new("`cargo build -p oxpost` failed; see above."))
    }
}

async fn start_tenant() -> Result<Tenant, Problem> {
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE))
        .application(Application::public(CLIENT_ID))
        .behave(|tenant| {
            tenant.entra.token_lifetime = SHORT_LIFE;
            tenant.entra.device_code_interval = Duration::from_secs(1);
        })
        .start()
        .await
        .map_err(|error| Problem::new(error.to_string()))?;
    println!("\n1. A simulated Microsoft 365 tenant, contoso.com. It accepts nothing but OAuth 2.0 tokens:\n");
    println!("     Entra ID  {}", tenant.authority());
    println!("     Exchange  IMAPS {}, POP3S {}, SMTP {} with STARTTLS", tenant.imap(), tenant.pop3(), tenant.smtp());
    Ok(tenant)
}

fn settings(tenant: &Tenant) -> Settings {
    let free = |port: u16| if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() { port } else { 0 };
    Settings { ports: USUAL_PORTS.map(free), ..Settings::of(tenant, CLIENT_ID) }
}

/// What an administrator does once.
async fn set_up(oxpost: &Oxpost, tenant: &Tenant) -> Result<String, Problem> {
    println!("\n2. What an administrator does once:\n");
    println!("     $ oxpost account add {ALICE}");
    let password = oxpost.add_account(ALICE, &[]).await?;
    println!("       password   {password}   (for mail programs; shown once)");
    println!("     $ oxpost sign-in {ALICE}");
    let shown = oxpost.sign_in(ALICE, tenant, ALICE).await?;
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        println!("       {}", line.trim_end());
    }
    Ok(password)
}

async fn start_proxy(oxpost: &Oxpost) -> Result<Running, Problem> {
    println!("\n3. $ oxpost run\n");
    let running = oxpost.run().await?;
    println!("     listening: IMAP {}, POP3 {}, SMTP {}", running.imap, running.pop3, running.smtp);
    Ok(running)
}

async fn show_the_protocols(tenant: &Tenant, running: &Running, password: &str) -> Result<(), Problem> {
    println!("\n4. A mail program with a plain user name and password. Left what it hears, right what Exchange hears.");
    let message = mail::message();
    let mut columns = Columns::new(tenant, password);
    columns.title("SMTP: sends a message to itself");
    mail::send(&mut columns, running.smtp, password, &message).await?;
    columns.title("IMAP: reads it");
    let by_imap = mail::read_by_imap(&mut columns, running.imap, password).await?;
    columns.title("POP3: reads it again");
    let by_pop3 = mail::read_by_pop3(&mut columns, running.pop3, password).await?;
    if by_imap != message || by_pop3 != message {
        return Err(Problem::new("the message that was read is not the one that was sent"));
    }
    println!(
        "\n     The message sent by SMTP came back by IMAP and by POP3, {} bytes, the same byte for byte.",
        message.len()
    );
    Ok(())
}

async fn show_a_token_expiring(tenant: &Tenant, running: &Running, password: &str) -> Result<(), Problem> {
    println!(
        "\n5. Tokens here live {} seconds. No client logs in; Oxpost refreshes in the background:\n",
        SHORT_LIFE.as_secs()
    );
    let before = tenant.token_requests().len();
    print!("     waiting ");
    for _ in 0..PATIENCE {
        print!(".");
        std::io::stdout().flush()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if tenant.token_requests().len() >= before + 2 {
            break;
        }
    }
    println!("\n");
    let requests = tenant.token_requests();
    for request in &requests {
        let age = tenant.clock().now().duration_since(request.at).unwrap_or_default().as_secs();
        // The device code's grant type is a URN.
        let grant = request.grant_type.rsplit(':').next().unwrap_or_default();
        println!("     {age:>3} s ago  {grant:<16} {:?}", request.outcome);
    }
    if requests.len() < before + 2 {
        return Err(Problem::new(format!(
            "the token was not refreshed in the background. Oxpost's log:\n{}",
            running.log()
        )));
    }
    let mut columns = Columns::new(tenant, password);
    columns.title("IMAP: logs in again with the newest token, and notices nothing");
    mail::look_in(&mut columns, running.imap, password).await?;
    tenant.behave(|tenant| tenant.entra.token_lifetime = LONG_LIFE);
    Ok(())
}

async fn show_a_wrong_password(tenant: &Tenant, running: &Running) -> Result<(), Problem> {
    println!("\n6. A wrong password reaches neither Exchange nor Entra ID.");
    let before = tenant.logins().len();
    let mut columns = Columns::new(tenant, "a guess");
    columns.title("IMAP: a wrong password");
    mail::guess(&mut columns, running.imap).await?;
    if tenant.logins().len() != before {
        return Err(Problem::new("a wrong password reached Exchange"));
    }
    Ok(())
}

async fn stay_up(oxpost: &Oxpost, running: &Running, password: &str) -> Result<(), Problem> {
    let (imap, pop3, smtp) = (running.imap, running.pop3, running.smtp);
    println!("\n7. Now your own mail program. The simulated tenant and Oxpost stay up until Ctrl-C.\n");
    println!("     user name  {ALICE}");
    println!("     password   {password}");
    println!("     IMAP       {}, port {}, no encryption, normal password", imap.ip(), imap.port());
    println!("     POP3       {}, port {}, no encryption, normal password", pop3.ip(), pop3.port());
    println!("     SMTP       {}, port {}, no encryption, normal password", smtp.ip(), smtp.port());
    println!("\n   Or with curl:\n");
    println!("     curl imap://{imap}/INBOX -u '{ALICE}:{password}' -X 'FETCH 1 BODY[]' -v");
    println!("     curl pop3://{pop3}/1 -u '{ALICE}:{password}'");
    println!("     printf 'Subject: hello\\r\\n\\r\\nfrom curl\\r\\n' | curl smtp://{smtp} -u '{ALICE}:{password}' \\");
    println!("       --mail-from {ALICE} --mail-rcpt {ALICE} --upload-file -\n");
    println!(
        "   Mail to any address at contoso.com stays here; mail to others goes nowhere. The proxy.toml of this Oxpost, and its store, are in"
    );
    println!("   {} until it ends.\n", oxpost.folder().display());
    tokio::signal::ctrl_c().await?;
    println!();
    Ok(())
}
