//! Plays `stories/*.txt`: what the client says and hears stands left, what is said between Oxpost and the simulated
//! Exchange stands indented.
//!
//! ```text
//! # a comment: what the story is about
//! tenant imap not-connected 1     a switch of the tenant (see `switch` below), before or during the story
//! protocol imap                   connects a client, and again each time
//! C: a1 LOGIN $USER $PASSWORD     the client says this line; $USER64, $PASSWORD64 and $PLAIN64 are their base64
//! S: a1 OK …                      the client hears this line; … stands for anything
//!         S: * OK …               Exchange says this line to Oxpost,
//!         C: X1 CAPABILITY        and Oxpost this one to Exchange
//!         --                      another connection of Oxpost to Exchange
//! END                             the client hears the end of the stream
//! CLOSE                           the client closes
//! advance 2h                      the clock goes on
//! requests 1                      so many token requests were made so far
//! ```
//!
//! The two columns run at their own pace, so each is checked by itself, in order. A story without indented lines says that
//! Exchange was not spoken to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, PASSWORD, Settings};
use oxpost_tests::office365::behaviour::{Act, ErrorChallenge, Fault, FrontEnd, SmtpRefusal, Stage, TokenFault};
use oxpost_tests::office365::{Application, Direction, Mailbox, Protocol, Tenant};

use crate::client::Client;

#[tokio::test]
async fn imap() {
    all("imap-").await;
}

#[tokio::test]
async fn pop3() {
    all("pop3-").await;
}

#[tokio::test]
async fn smtp() {
    all("smtp-").await;
}

async fn all(prefix: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stories");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    files.sort();
    assert!(!files.is_empty(), "no story begins with {prefix}");
    for file in files {
        Story::read(&file).play().await;
    }
}

/// A tenant with one application and one mailbox that holds one message.
pub(crate) async fn tenant() -> Tenant {
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE))
        .application(Application::public(CLIENT_ID))
        .start()
        .await
        .unwrap();
    tenant.deliver(ALICE, "From: bob@fabrikam.example\r\nSubject: hello\r\n\r\n.one dot\r\nbye\r\n");
    tenant
}

pub(crate) const BOB: &str = "bob@contoso.com";

/// A tenant with one application and the empty mailboxes of [`ALICE`] and [`BOB`].
pub(crate) async fn tenant_of_two() -> Tenant {
    Tenant::builder()
        .mailbox(Mailbox::user(ALICE))
        .mailbox(Mailbox::user(BOB))
        .application(Application::public(CLIENT_ID))
        .start()
        .await
        .unwrap()
}

/// The proxy in front of [`tenant`], with Alice's account signed in.
pub(crate) async fn proxy(more: &str) -> InProcess {
    signed_in(InProcess::start(tenant().await, more).await.unwrap()).await
}

/// The same, configured like this.
pub(crate) async fn proxy_with(tenant: Tenant, settings: &Settings) -> InProcess {
    signed_in(InProcess::start_with(tenant, settings).await.unwrap()).await
}

/// The proxy asks IMAP servers what they offer, as if no one had logged in before.
pub(crate) fn forget_offers(in_process: &InProcess) {
    use oxpost::testing::Protocol::Imap;
    use oxpost_protocol::{KnownOffer, UpstreamFailure};
    let misled_by = Some(&UpstreamFailure::ConnectionClosed);
    for servers in in_process.context.settings.servers.values() {
        in_process.context.runtime.login_offers.succeeded(Imap, &servers.imap, &KnownOffer::default(), misled_by);
    }
}

async fn signed_in(in_process: InProcess) -> InProcess {
    in_process.add_account(ALICE).await.unwrap();
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    in_process
}

struct Story {
    name: String,
    lines: Vec<(usize, String)>,
}

impl Story {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned()));
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, lines: lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect() }
    }

    async fn play(&self) {
        let in_process = proxy("").await;
        let mut client: Option<Client> = None;
        for (number, line) in &self.lines {
            let here = format!("{}:{number}: {line}", self.name);
            if line.starts_with("        ") {
                continue;
            }
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let connected = || panic!("{here}: no client is connected");
            match verb {
                "protocol" => client = Some(Client::connect(in_process.address(protocol(rest))).await),
                "C:" => client.as_mut().unwrap_or_else(connected).say(&filled_in(rest)).await,
                "S:" => {
                    let heard = client.as_mut().unwrap_or_else(connected).line().await;
                    let heard = heard.unwrap_or_else(|| panic!("{here}: heard the end of the stream"));
                    assert!(alike(rest, &heard), "{here}\nheard:  {heard}");
                }
                "END" => {
                    let heard = client.as_mut().unwrap_or_else(connected).line().await;
                    assert_eq!(heard, None, "{here}");
                }
                "CLOSE" => client = None,
                "tenant" => in_process.tenant.behave(|tenant| switch(tenant, rest)),
                "revoke" => in_process.tenant.revoke(ALICE),
                "revoke-access" => in_process.tenant.revoke_access_tokens(ALICE),
                "smtp-auth-off" => {
                    assert!(in_process.tenant.change_mailbox(ALICE, |mailbox| mailbox.smtp_auth(false)));
                }
                "sign-in" => in_process.sign_in(ALICE, ALICE).await.unwrap(),
                "advance" => in_process.tenant.clock().advance(period(rest)),
                "requests" => assert_eq!(in_process.tenant.token_requests().len().to_string(), rest, "{here}"),
                _ => panic!("{here}: unknown step"),
            }
        }
        drop(client);
        self.check_upstream(&in_process).await;
        in_process.stop().await;
    }

    /// Compares the indented column with what the tenant has written down.
    async fn check_upstream(&self, in_process: &InProcess) {
        let expected: Vec<&str> =
            self.lines.iter().filter_map(|(_, line)| line.strip_prefix("        ")).map(str::trim_start).collect();
        // The last lines may still be on their way.
        let mut said = String::new();
        for _ in 0..200 {
            said = upstream(in_process);
            if said.lines().count() >= expected.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let said: Vec<&str> = said.lines().collect();
        for (index, expected) in expected.iter().enumerate() {
            let said_here = said.get(index).copied().unwrap_or("nothing");
            assert!(
                alike(expected, said_here),
                "{}: upstream line {}\nexpected: {expected}\nsaid:     {said_here}\nall of it:\n{}",
                self.name,
                index + 1,
                said.join("\n")
            );
        }
        assert_eq!(said.len(), expected.len(), "{}: upstream, all of it:\n{}", self.name, said.join("\n"));
    }
}

fn upstream(in_process: &InProcess) -> String {
    let mut said = String::new();
    for (index, transcript) in in_process.tenant.transcripts().iter().enumerate() {
        if index > 0 {
            said.push_str("--\n");
        }
        for (direction, line) in &transcript.entries {
            let _ = match direction {
                Direction::Client => writeln!(said, "C: {line}"),
                Direction::Server => writeln!(said, "S: {line}"),
                Direction::Note => Ok(()),
            };
        }
    }
    said
}

fn protocol(name: &str) -> Protocol {
    match name {
        "imap" => Protocol::Imap,
        "pop3" => Protocol::Pop3,
        "smtp" => Protocol::Smtp,
        _ => panic!("no protocol {name}"),
    }
}

/// The switches a story can use.
fn switch(tenant: &mut oxpost_tests::office365::behaviour::Behaviour, words: &str) {
    let words: Vec<&str> = words.splitn(4, ' ').collect();
    match words.as_slice() {
        ["front-end", "tcpproxy"] => tenant.front_end = FrontEnd::TcpProxy,
        ["error-challenge", "json"] => tenant.error_challenge = ErrorChallenge::Json,
        ["refuse-good-tokens", count] => tenant.refuse_good_tokens = count.parse().unwrap(),
        ["imap", "not-connected", count] => tenant.imap.not_connected = count.parse().unwrap(),
        ["imap", "throttle-logins", milliseconds] => tenant.imap.throttle_logins = Some(milliseconds.parse().unwrap()),
        ["imap", "no-xoauth2"] => tenant.imap.offer_xoauth2 = false,
        ["smtp", "no-xoauth2"] => tenant.smtp.offer_xoauth2 = false,
        ["smtp", "no-starttls"] => tenant.smtp.offer_starttls = false,
        ["smtp", "inject", text @ ..] => tenant.smtp.injected_behind_starttls = Some(format!("{}\r\n", text.join(" "))),
        ["smtp", "refusal", "security-defaults"] => tenant.smtp.refusal = Some(SmtpRefusal::SecurityDefaults),
        ["smtp", "refusal", "temporary"] => tenant.smtp.refusal = Some(SmtpRefusal::Temporary),
        ["pop3", "long-tokens", bytes] => tenant.entra.token_bloat = bytes.parse().unwrap(),
        ["fault", "imap", stage, act] => tenant.imap.faults.push(Fault::once(named_stage(stage), named_act(act))),
        ["fault", "pop3", stage, act] => tenant.pop3.faults.push(Fault::once(named_stage(stage), named_act(act))),
        ["fault", "smtp", stage, act] => tenant.smtp.faults.push(Fault::once(named_stage(stage), named_act(act))),
        ["authority", "429", seconds] => {
            tenant.entra.next_faults.push_back(TokenFault::TooManyRequests(Some(seconds.parse().unwrap())));
        }
        ["authority", "aadsts", code] => tenant.entra.next_faults.push_back(TokenFault::Aadsts(code.parse().unwrap())),
        other => panic!("no switch {other:?}"),
    }
}

fn named_stage(name: &str) -> Stage {
    match name {
        "greeting" => Stage::Greeting,
        "capability" => Stage::Capability,
        "credentials" => Stage::Credentials,
        "command" => Stage::Command,
        _ => panic!("no stage {name}"),
    }
}

fn named_act(text: &str) -> Act {
    match text {
        "close" => Act::Close,
        "reset" => Act::Reset,
        "garbage" => Act::Garbage,
        text => Act::SayAndClose(text.strip_prefix("say ").expect("say TEXT").to_owned()),
    }
}

fn period(text: &str) -> Duration {
    let (count, unit) = text.split_at(text.len() - 1);
    let count: u64 = count.parse().unwrap();
    Duration::from_secs(
        count
            * match unit {
                "h" => 3600,
                "m" => 60,
                "s" => 1,
                _ => panic!("no unit {unit}"),
            },
    )
}

fn filled_in(line: &str) -> String {
    let plain = STANDARD.encode(format!("\0{ALICE}\0{PASSWORD}"));
    line.replace("$PLAIN64", &plain)
        .replace("$USER64", &STANDARD.encode(ALICE))
        .replace("$PASSWORD64", &STANDARD.encode(PASSWORD))
        .replace("$USER", ALICE)
        .replace("$PASSWORD", PASSWORD)
}

/// Whether a line is as expected; `…` stands for anything.
fn alike(expected: &str, line: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

#[test]
fn an_ellipsis_stands_for_anything() {
    for (expected, line, same) in [
        ("a OK", "a OK", true),
        ("a OK", "a OK x", false),
        ("a …", "a b c", true),
        ("a … c", "a b c", true),
        ("a … c", "a b d", false),
        ("…", "", true),
        ("a … b … c", "a 1 b 2 c", true),
        ("a … b … c", "a 1 2 c", false),
    ] {
        assert_eq!(alike(expected, line), same, "{expected:?} {line:?}");
    }
}
