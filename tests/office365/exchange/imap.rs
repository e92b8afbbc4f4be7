//! Exchange Online's IMAP4rev1: the session from the greeting to the farewell, with everything before the mailbox is open.

mod change;
mod fetch;
mod folders;
mod mime;
mod parse;
mod search;

use std::io;
use std::time::Duration;

use super::connection::{Connection, Flow};
use super::greeting;
use super::login::{self, MAX_CREDENTIALS, Opened, Verdict};
use crate::office365::behaviour::Stage;
use crate::office365::lock;
use crate::office365::records::LoginOutcome;
use folders::Selected;
use parse::Command;

pub(super) async fn serve(connection: &mut Connection) -> io::Result<()> {
    match connection.stage(Stage::Greeting, "").await? {
        Flow::Serve => {
            let greeting = connection.shared.behaviour(greeting::imap);
            connection.say(&greeting).await?;
        }
        Flow::Answered => {}
        Flow::Close => return Ok(()),
    }
    let mut session = Session { login: None, not_connected: None, selected: None };
    while let Some(command) = parse::read(connection, session.login.is_some()).await? {
        if session.command(connection, command).await? == Flow::Close {
            break;
        }
    }
    Ok(())
}

struct Session {
    login: Option<Opened>,
    /// Authenticated, but not connected: how many commands were already told so.
    not_connected: Option<u32>,
    selected: Option<Selected>,
}

/// The answer that ends a command.
type Answer = Result<String, Bad>;

/// A command that cannot be obeyed.
enum Bad {
    Argument,
    State,
    No(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Arguments that end too soon, or are not what they should be.
trait OrBad<T> {
    fn or_bad(self) -> Result<T, Bad>;
}

impl<T> OrBad<T> for Option<T> {
    fn or_bad(self) -> Result<T, Bad> {
        self.ok_or(Bad::Argument)
    }
}

impl Session {
    async fn command(&mut self, connection: &mut Connection, command: Command) -> io::Result<Flow> {
        let (tag, verb) = (command.tag.clone(), command.verb.clone());
        if self.login.is_none() {
            return self.before_login(connection, command).await;
        }
        if self.ended_by_its_token(connection).await? {
            return Ok(Flow::Close);
        }
        if self.not_connected.is_some() && verb != "CAPABILITY" && verb != "LOGOUT" {
            return self.not_connected(connection, &tag).await;
        }
        let stage = if verb == "CAPABILITY" { Stage::Capability } else { Stage::Command };
        match connection.stage(stage, &tag).await? {
            Flow::Serve => {}
            other => return Ok(other),
        }
        let throttle = connection.shared.behaviour_mut(|behaviour| behaviour.imap.throttle.take());
        if let Some(millis) = throttle.filter(|_| verb != "LOGOUT") {
            connection.say(&format!("{tag} BAD {}", throttled(millis))).await?;
            return Ok(Flow::Close);
        }
        if verb == "LOGOUT" {
            return log_out(connection, &tag).await;
        }
        if verb == "IDLE" {
            return self.idle(connection, &tag).await;
        }
        let answer = Box::pin(self.obey(connection, command)).await;
        let line = match answer {
            Ok(line) => line,
            Err(Bad::Argument) => "BAD Command Argument Error. 11".to_owned(),
            Err(Bad::State) => "BAD Command received in Invalid state.".to_owned(),
            Err(Bad::No(text)) => format!("NO {text}"),
            Err(Bad::Io(error)) => return Err(error),
        };
        // RFC 3501 section 7.4.1: no EXPUNGE while sequence numbers are being used.
        let by_number = matches!(verb.as_str(), "FETCH" | "STORE" | "SEARCH");
        self.news(connection, !by_number).await?;
        connection.say(&format!("{tag} {line}")).await?;
        Ok(Flow::Serve)
    }

    async fn obey(&mut self, connection: &mut Connection, mut command: Command) -> Answer {
        let verb = command.verb.clone();
        match verb.as_str() {
            "CAPABILITY" => {
                say_capabilities(connection, true).await?;
                Ok("OK CAPABILITY completed.".to_owned())
            }
            "NOOP" | "CHECK" => Ok(format!("OK {verb} completed.")),
            "ID" => {
                connection.say(ID).await?;
                Ok("OK ID completed".to_owned())
            }
            "NAMESPACE" => {
                connection.say(r#"* NAMESPACE (("" "/")) NIL NIL"#).await?;
                Ok("OK NAMESPACE completed.".to_owned())
            }
            "ENABLE" => {
                connection.say("* ENABLED").await?;
                Ok("OK ENABLE completed.".to_owned())
            }
            "LIST" | "LSUB" | "XLIST" | "SELECT" | "EXAMINE" | "STATUS" | "CREATE" | "DELETE" | "RENAME"
            | "SUBSCRIBE" | "UNSUBSCRIBE" | "CLOSE" | "UNSELECT" => self.folder_command(connection, &mut command).await,
            "FETCH" | "UID FETCH" => self.fetch(connection, &mut command).await,
            "SEARCH" | "UID SEARCH" => self.search(connection, &mut command).await,
            "STORE" | "UID STORE" | "COPY" | "UID COPY" | "MOVE" | "UID MOVE" | "EXPUNGE" | "UID EXPUNGE"
            | "APPEND" => self.change(connection, &mut command).await,
            "LOGIN" | "AUTHENTICATE" | "STARTTLS" => Err(Bad::State),
            _ => Ok("BAD Command Error. 12".to_owned()),
        }
    }

    async fn before_login(&mut self, connection: &mut Connection, mut command: Command) -> io::Result<Flow> {
        let (tag, verb) = (command.tag.clone(), command.verb.clone());
        let encrypted = connection.encrypted();
        match verb.as_str() {
            "CAPABILITY" => match connection.stage(Stage::Capability, &tag).await? {
                Flow::Serve => {
                    say_capabilities(connection, false).await?;
                    connection.say(&format!("{tag} OK CAPABILITY completed.")).await?;
                }
                other => return Ok(other),
            },
            "NOOP" => connection.say(&format!("{tag} OK NOOP completed.")).await?,
            "ID" => {
                connection.say(ID).await?;
                connection.say(&format!("{tag} OK ID completed")).await?;
            }
            "LOGOUT" => return log_out(connection, &tag).await,
            "STARTTLS" if !encrypted => match connection.stage(Stage::StartTls, &tag).await? {
                Flow::Serve => {
                    connection.say(&format!("{tag} OK Begin TLS negotiation now.")).await?;
                    connection.start_tls().await?;
                }
                other => return Ok(other),
            },
            "LOGIN" if encrypted => {
                let user = command.space().and_then(|()| command.string()).unwrap_or_default();
                login::record(connection, &user, 0, LoginOutcome::Password);
                return refuse(connection, &tag, "LOGIN failed.", "").await;
            }
            "AUTHENTICATE" if encrypted => return self.authenticate(connection, &tag, &mut command).await,
            _ if KNOWN.contains(&verb.as_str()) => {
                connection.say(&format!("{tag} BAD Command received in Invalid state.")).await?;
            }
            _ => connection.say(&format!("{tag} BAD Command Error. 12")).await?,
        }
        Ok(Flow::Serve)
    }

    async fn authenticate(
        &mut self,
        connection: &mut Connection,
        tag: &str,
        command: &mut Command,
    ) -> io::Result<Flow> {
        let mechanism = command.space().and_then(|()| command.atom()).unwrap_or_default().to_ascii_uppercase();
        let offered = mechanism == "XOAUTH2" && connection.shared.behaviour(|behaviour| behaviour.imap.offer_xoauth2);
        if mechanism != "PLAIN" && !offered {
            connection.say(&format!("{tag} NO AUTHENTICATE failed.")).await?;
            return Ok(Flow::Serve);
        }
        let initial = command.space().and_then(|()| command.atom());
        if initial.is_some() && !connection.shared.behaviour(|behaviour| behaviour.imap.offer_initial_response) {
            connection.say(&format!("{tag} BAD Command Argument Error. 11")).await?;
            return Ok(Flow::Serve);
        }
        let credentials = match initial {
            Some(initial) => initial.into_bytes(),
            None => {
                connection.say("+").await?;
                match connection.read_credentials(MAX_CREDENTIALS).await? {
                    Some(line) => line,
                    None => return Ok(Flow::Close),
                }
            }
        };
        match connection.stage(Stage::Credentials, tag).await? {
            Flow::Serve => {}
            other => return Ok(other),
        }
        if mechanism == "PLAIN" {
            login::record(connection, "", 0, LoginOutcome::Password);
            return refuse(connection, tag, "AUTHENTICATE failed.", "").await;
        }
        if let Some(millis) = connection.shared.behaviour(|behaviour| behaviour.imap.throttle_logins) {
            connection.say(&format!("{tag} NO {}", throttled(millis))).await?;
            return Ok(Flow::Close);
        }
        match login::judge(connection, &credentials) {
            Verdict::Accepted(opened) => self.login = Some(opened),
            Verdict::NotConnected(opened) => {
                self.login = Some(opened);
                self.not_connected = Some(0);
            }
            Verdict::Refused | Verdict::SmtpDisabled { .. } => {
                return refuse(connection, tag, "AUTHENTICATE failed.", "+ ").await;
            }
        }
        connection.say(&format!("{tag} OK AUTHENTICATE completed.")).await?;
        Ok(Flow::Serve)
    }

    /// The token was good and the mailbox cannot be opened: the second command that wants it ends the session.
    async fn not_connected(&mut self, connection: &mut Connection, tag: &str) -> io::Result<Flow> {
        connection.say(&format!("{tag} BAD User is authenticated but not connected.")).await?;
        let told = self.not_connected.unwrap_or_default() + 1;
        self.not_connected = Some(told);
        if told < 2 {
            return Ok(Flow::Serve);
        }
        connection.say("* BYE Connection closed. 14").await?;
        Ok(Flow::Close)
    }

    async fn ended_by_its_token(&self, connection: &mut Connection) -> io::Result<bool> {
        let Some(opened) = &self.login else { return Ok(false) };
        let ends = connection.shared.behaviour(|behaviour| behaviour.imap.end_session_at_expiry);
        if !ends || !login::expired(connection, opened) {
            return Ok(false);
        }
        connection.say("* BYE Session invalidated - AccessTokenExpired").await?;
        Ok(true)
    }

    /// RFC 2177: news until the client says DONE.
    async fn idle(&mut self, connection: &mut Connection, tag: &str) -> io::Result<Flow> {
        let mut changes = lock(&connection.shared.store).changes();
        let clock = connection.shared.clock.clone();
        let mut moves = clock.moves();
        self.news(connection, true).await?;
        connection.say("+ IDLE accepted, awaiting DONE command.").await?;
        connection.flush().await?;
        loop {
            let left = self.login.as_ref().map_or(0, |opened| opened.claims.exp.saturating_sub(clock.unix()));
            // One second more than is left, so that the token has expired when we look again.
            let until_expiry = tokio::time::sleep(Duration::from_secs(left.saturating_add(1)));
            tokio::select! {
                heard = connection.wait() => {
                    if !heard? {
                        return Ok(Flow::Close);
                    }
                    break;
                }
                _ = changes.changed() => self.news(connection, true).await?,
                _ = moves.changed() => {}
                () = until_expiry => {}
            }
            if self.ended_by_its_token(connection).await? {
                return Ok(Flow::Close);
            }
            connection.flush().await?;
        }
        let Some(line) = connection.read_line(MAX_CREDENTIALS).await? else { return Ok(Flow::Close) };
        let answer = if line.eq_ignore_ascii_case(b"DONE") { "OK IDLE completed." } else { "BAD Command Error. 12" };
        connection.say(&format!("{tag} {answer}")).await?;
        Ok(Flow::Serve)
    }

    /// The mailbox that is open.
    fn user(&self) -> &str {
        self.login.as_ref().map_or("", |opened| &opened.user)
    }
}

/// Commands that exist, for those who send them too early.
const KNOWN: [&str; 30] = [
    "NAMESPACE",
    "LIST",
    "LSUB",
    "XLIST",
    "SELECT",
    "EXAMINE",
    "STATUS",
    "CREATE",
    "DELETE",
    "RENAME",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "CLOSE",
    "UNSELECT",
    "FETCH",
    "UID FETCH",
    "SEARCH",
    "UID SEARCH",
    "STORE",
    "UID STORE",
    "COPY",
    "UID COPY",
    "MOVE",
    "UID MOVE",
    "EXPUNGE",
    "UID EXPUNGE",
    "APPEND",
    "IDLE",
    "CHECK",
    "ENABLE",
];
const ID: &str = r#"* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20")"#;

fn throttled(millis: u64) -> String {
    format!("Request is throttled. Suggested Backoff Time: {millis} milliseconds")
}

async fn say_capabilities(connection: &mut Connection, logged_in: bool) -> io::Result<()> {
    let encrypted = connection.encrypted();
    let list = connection.shared.behaviour(|behaviour| greeting::imap_capabilities(behaviour, encrypted, logged_in));
    connection.say(&format!("* CAPABILITY {list}")).await
}

async fn log_out(connection: &mut Connection, tag: &str) -> io::Result<Flow> {
    connection.say("* BYE Microsoft Exchange Server IMAP4 server signing off.").await?;
    connection.say(&format!("{tag} OK LOGOUT completed.")).await?;
    Ok(Flow::Close)
}

async fn refuse(connection: &mut Connection, tag: &str, text: &str, challenge_prompt: &str) -> io::Result<Flow> {
    if !challenge_prompt.is_empty() {
        login::before_refusal(connection, challenge_prompt).await?;
    }
    connection.say(&format!("{tag} NO {text}")).await?;
    Ok(Flow::Serve)
}
