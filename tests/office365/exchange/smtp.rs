//! Exchange Online's SMTP submission (RFC 5321, RFC 3207, RFC 4954, RFC 3030).

use std::io;

use super::connection::{Connection, Flow};
use super::greeting::{self, HOST, MAILBOX_HOST, trailer};
use super::login::{self, MAX_CREDENTIALS, Opened, Verdict};
use super::submission::{LoggedIn, Slot, address_in, deliver, header, may_send_as, path};
use crate::office365::behaviour::{SmtpRefusal, Stage};
use crate::office365::lock;
use crate::office365::records::LoginOutcome;
use crate::office365::tokens::guid;

const MAX_LINE: usize = MAX_CREDENTIALS;
/// `SIZE` in the answer to EHLO.
const MAX_MESSAGE: usize = 157_286_400;

pub(super) async fn serve(connection: &mut Connection) -> io::Result<()> {
    match connection.stage(Stage::Greeting, "").await? {
        Flow::Serve => {
            let now = connection.shared.clock.now();
            let greeting = connection.shared.behaviour(|behaviour| greeting::smtp(behaviour, now));
            connection.say(&greeting).await?;
        }
        Flow::Answered => {}
        Flow::Close => return Ok(()),
    }
    let mut session = Session::default();
    while let Some(line) = connection.read_line(MAX_LINE).await? {
        if session.command(connection, &String::from_utf8_lossy(&line)).await? == Flow::Close {
            break;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Session {
    login: Option<Opened>,
    counted: Option<LoggedIn>,
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
    chunks: Vec<u8>,
    sending: Option<Slot>,
}

impl Session {
    async fn command(&mut self, connection: &mut Connection, line: &str) -> io::Result<Flow> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let verb = verb.to_ascii_uppercase();
        let stage = match verb.as_str() {
            "EHLO" | "HELO" => Some(Stage::Capability),
            "STARTTLS" => Some(Stage::StartTls),
            "MAIL" => Some(Stage::Mail),
            "RCPT" => Some(Stage::Recipient),
            "DATA" => Some(Stage::Data),
            "NOOP" | "RSET" if self.login.is_some() => Some(Stage::Command),
            _ => None,
        };
        if let Some(stage) = stage {
            match connection.stage(stage, "").await? {
                Flow::Serve => {}
                other => return Ok(other),
            }
        }
        match verb.as_str() {
            "EHLO" => {
                self.reset();
                self.greeted = true;
                let encrypted = connection.encrypted();
                for line in connection.shared.behaviour(|behaviour| greeting::ehlo(behaviour, encrypted)) {
                    connection.say(&line).await?;
                }
            }
            "HELO" => {
                self.reset();
                self.greeted = true;
                connection.say("250 AM0PR02CA0134.outlook.office365.com Hello [127.0.0.1]").await?;
            }
            "STARTTLS" => return self.start_tls(connection).await,
            "AUTH" => return self.authenticate(connection, argument).await,
            "MAIL" => self.mail(connection, argument).await?,
            "RCPT" => self.recipient(connection, argument).await?,
            "DATA" => return self.data(connection).await,
            "BDAT" => return self.chunk(connection, argument).await,
            "RSET" => {
                self.reset();
                connection.say("250 2.0.0 Resetting").await?;
            }
            "NOOP" => connection.say("250 2.0.0 OK").await?,
            "HELP" => connection.say("214 2.0.0 This server supports the following commands:").await?,
            "VRFY" => connection.say("252 2.1.5 Cannot VRFY user").await?,
            "QUIT" => {
                connection.say("221 2.0.0 Service closing transmission channel").await?;
                return Ok(Flow::Close);
            }
            _ => {
                let pause = connection.shared.behaviour(|behaviour| behaviour.smtp.tarpit);
                if !pause.is_zero() {
                    connection.flush().await?;
                    tokio::time::sleep(pause).await;
                }
                let trailer = trailer(connection.shared.clock.now());
                connection.say(&format!("500 5.3.3 Unrecognized command '{}' {trailer}", verb.to_lowercase())).await?;
            }
        }
        Ok(Flow::Serve)
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
        self.chunks = Vec::new();
        self.sending = None;
    }

    async fn start_tls(&mut self, connection: &mut Connection) -> io::Result<Flow> {
        let (offered, injected) = connection
            .shared
            .behaviour(|behaviour| (behaviour.smtp.offer_starttls, behaviour.smtp.injected_behind_starttls.clone()));
        if connection.encrypted() || !offered {
            connection.say("503 5.5.2 Only one STARTTLS command may be issued").await?;
            return Ok(Flow::Serve);
        }
        connection.say("220 2.0.0 SMTP server ready").await?;
        if let Some(text) = injected {
            connection.put_shown(text.as_bytes(), &format!("injected before TLS: {text:?}")).await?;
        }
        connection.start_tls().await?;
        *self = Self::default();
        Ok(Flow::Serve)
    }

    async fn authenticate(&mut self, connection: &mut Connection, argument: &str) -> io::Result<Flow> {
        let now = connection.shared.clock.now();
        let (mechanism, initial) = argument.split_once(' ').map_or((argument, None), |(name, rest)| (name, Some(rest)));
        let offered = connection.shared.behaviour(|behaviour| behaviour.smtp.offer_xoauth2);
        if !connection.encrypted() || !self.greeted || self.login.is_some() || self.from.is_some() {
            let refusal = if connection.encrypted() {
                "503 5.5.2 Bad sequence of commands"
            } else {
                "504 5.7.4 Unrecognized authentication type"
            };
            connection.say(&format!("{refusal} {}", trailer(now))).await?;
            return Ok(Flow::Serve);
        }
        if mechanism.eq_ignore_ascii_case("LOGIN") {
            return self.password(connection, initial.is_some()).await;
        }
        if !mechanism.eq_ignore_ascii_case("XOAUTH2") || !offered {
            connection.say(&format!("504 5.7.4 Unrecognized authentication type {}", trailer(now))).await?;
            return Ok(Flow::Serve);
        }
        if initial.is_some() && connection.shared.behaviour(|behaviour| behaviour.smtp.long_commands_refused) {
            connection.say("500 5.5.2 Line too long").await?;
            return Ok(Flow::Serve);
        }
        let credentials = match initial {
            Some(text) => text.as_bytes().to_vec(),
            None => {
                connection.put_shown(b"334 \r\n", "334 ").await?;
                match connection.read_credentials(MAX_CREDENTIALS).await? {
                    Some(line) => line,
                    None => return Ok(Flow::Close),
                }
            }
        };
        match connection.stage(Stage::Credentials, "").await? {
            Flow::Serve => {}
            other => return Ok(other),
        }
        let refusal = connection.shared.behaviour(|behaviour| behaviour.smtp.refusal);
        let verdict = login::judge(connection, &credentials);
        if let (Verdict::Accepted(opened), None) = (&verdict, refusal) {
            self.login = Some(opened.clone());
            self.counted = Some(LoggedIn::count(&connection.shared, &opened.user));
            connection.say("235 2.7.0 Authentication successful").await?;
            return Ok(Flow::Serve);
        }
        login::before_refusal(connection, "334 ").await?;
        let text = match (refusal, verdict) {
            (Some(refusal), _) => refusal_text(refusal),
            (None, Verdict::SmtpDisabled { for_mailbox: true }) => DISABLED_FOR_MAILBOX,
            (None, Verdict::SmtpDisabled { for_mailbox: false }) => DISABLED_FOR_TENANT,
            (None, _) => "535 5.7.3 Authentication unsuccessful",
        };
        connection.say(&format!("{text} {}", trailer(now))).await?;
        Ok(Flow::Serve)
    }

    /// AUTH LOGIN is offered, and a password is never good enough.
    async fn password(&mut self, connection: &mut Connection, user_given: bool) -> io::Result<Flow> {
        let prompts: &[&str] =
            if user_given { &["334 UGFzc3dvcmQ6"] } else { &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] };
        for prompt in prompts {
            connection.say(prompt).await?;
            if connection.read_credentials(MAX_CREDENTIALS).await?.is_none() {
                return Ok(Flow::Close);
            }
        }
        login::record(connection, "", 0, LoginOutcome::Password);
        let text = refusal_text(SmtpRefusal::BasicDisabled);
        connection.say(&format!("{text} {}", trailer(connection.shared.clock.now()))).await?;
        Ok(Flow::Serve)
    }

    async fn mail(&mut self, connection: &mut Connection, argument: &str) -> io::Result<()> {
        let now = connection.shared.clock.now();
        if self.login.is_none() {
            return connection
                .say(&format!("530 5.7.57 Client not authenticated to send mail. {}", trailer(now)))
                .await;
        }
        if self.from.is_some() {
            return connection.say("503 5.5.2 Sender already specified").await;
        }
        let Some((address, parameters)) = path(argument, "FROM:") else {
            return connection.say("501 5.5.4 Invalid arguments").await;
        };
        let size = parameters.split(' ').find_map(|word| word.to_ascii_uppercase().strip_prefix("SIZE=")?.parse().ok());
        if size.is_some_and(|size: usize| size > MAX_MESSAGE) {
            return connection.say("552 5.3.4 Message size exceeds fixed maximum message size").await;
        }
        self.from = Some(address);
        connection.say("250 2.1.0 Sender OK").await
    }

    async fn recipient(&mut self, connection: &mut Connection, argument: &str) -> io::Result<()> {
        if self.from.is_none() {
            return connection.say("503 5.5.2 Need mail command").await;
        }
        let Some((address, _)) = path(argument, "TO:").filter(|(address, _)| !address.is_empty()) else {
            return connection.say("501 5.5.4 Invalid arguments").await;
        };
        let own_domain = address.rsplit_once('@').is_some_and(|(_, domain)| domain == connection.shared.domain);
        if own_domain && lock(&connection.shared.directory).mailbox(&address).is_none() {
            return connection
                .say(&format!(
                    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {address} not found by SMTP address lookup"
                ))
                .await;
        }
        self.to.push(address);
        connection.say("250 2.1.5 Recipient OK").await
    }

    async fn data(&mut self, connection: &mut Connection) -> io::Result<Flow> {
        if self.to.is_empty() || !self.chunks.is_empty() {
            connection.say("503 5.5.2 Need rcpt command").await?;
            return Ok(Flow::Serve);
        }
        self.begin_sending(connection);
        connection.say("354 Start mail input; end with <CRLF>.<CRLF>").await?;
        let message = connection.read_dotted(MAX_MESSAGE).await?;
        self.submit(connection, message).await
    }

    /// `BDAT` n `[LAST]`: octets that are counted, not looked at.
    async fn chunk(&mut self, connection: &mut Connection, argument: &str) -> io::Result<Flow> {
        let mut words = argument.split_ascii_whitespace();
        let Some(count) =
            words.next().and_then(|word| word.parse::<usize>().ok()).filter(|count| *count <= MAX_MESSAGE)
        else {
            connection.say("501 5.5.4 Invalid arguments").await?;
            return Ok(Flow::Close);
        };
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        if !self.to.is_empty() {
            self.begin_sending(connection);
        }
        let octets = connection.read_octets(count, false).await?;
        if self.to.is_empty() {
            connection.say("503 5.5.2 Need rcpt command").await?;
            return Ok(Flow::Serve);
        }
        match connection.stage(Stage::Data, "").await? {
            Flow::Serve => {}
            other => return Ok(other),
        }
        self.chunks.extend_from_slice(&octets);
        if last {
            let message = std::mem::take(&mut self.chunks);
            return self.submit(connection, message).await;
        }
        connection.say(&format!("250 2.0.0 {count} octets received")).await?;
        Ok(Flow::Serve)
    }

    fn begin_sending(&mut self, connection: &Connection) {
        if let (None, Some(login)) = (&self.sending, &self.login) {
            self.sending = Some(Slot::take(&connection.shared, &login.user));
        }
    }

    /// The end of the message, where Exchange makes up its mind.
    async fn submit(&mut self, connection: &mut Connection, message: Vec<u8>) -> io::Result<Flow> {
        let flow = connection.stage(Stage::Message, "").await?;
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        let (slot, login) = (self.sending.take(), self.login.clone());
        if flow != Flow::Serve {
            return Ok(flow);
        }
        let Some(login) = login else { return Ok(Flow::Close) };
        let limit = connection.shared.behaviour(|behaviour| behaviour.smtp.concurrent_messages);
        if limit.is_some_and(|limit| slot.as_ref().is_some_and(|slot| slot.number > limit)) {
            slot.iter().for_each(Slot::refuse);
            let text = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.";
            connection.say(&format!("{text} [Hostname={MAILBOX_HOST}]")).await?;
            return Ok(Flow::Serve);
        }
        let limit = connection.shared.behaviour(|behaviour| behaviour.smtp.messages_per_minute);
        if limit.is_some_and(|limit| slot.as_ref().is_some_and(|slot| !slot.is_within(limit))) {
            slot.iter().for_each(Slot::refuse);
            let text = "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded";
            connection.say(&format!("{text} [Hostname={MAILBOX_HOST}]")).await?;
            return Ok(Flow::Serve);
        }
        let header_from = header(&message, "From").map(|value| address_in(&value));
        let senders = [Some(from.clone()), header_from];
        let denied =
            senders.into_iter().flatten().find(|sender| !sender.is_empty() && !may_send_as(connection, &login, sender));
        if let Some(sender) = denied {
            let text = format!(
                "554 5.2.252 SendAsDenied; {} not allowed to send as {sender}; STOREDRV.Submission.Exception:\
                 SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception \
                 with message [BeginDiagnosticData]Cannot submit message. [EndDiagnosticData] [Hostname={MAILBOX_HOST}]",
                login.user
            );
            connection.say(&text).await?;
            return Ok(Flow::Serve);
        }
        let id = header(&message, "Message-ID").unwrap_or_else(|| format!("<{}@{HOST}>", guid().unwrap_or_default()));
        deliver(connection, &login.user, from, &to, message);
        // The place is free before the answer is heard, so that the next message cannot be counted together with this one.
        drop(slot);
        connection.say(&format!("250 2.0.0 OK {id} [Hostname={MAILBOX_HOST}]")).await?;
        Ok(Flow::Serve)
    }
}

const DISABLED_FOR_TENANT: &str = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.";
const DISABLED_FOR_MAILBOX: &str = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.";

fn refusal_text(refusal: SmtpRefusal) -> &'static str {
    match refusal {
        SmtpRefusal::SecurityDefaults => {
            "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator."
        }
        SmtpRefusal::Criteria => {
            "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator."
        }
        SmtpRefusal::BasicDisabled => "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.",
        SmtpRefusal::CredentialsIncorrect => {
            "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect."
        }
        SmtpRefusal::BasicNotSupported => "550 5.7.30 Basic authentication is not supported for Client Submission.",
        SmtpRefusal::Temporary => "454 4.7.0 Temporary authentication failure",
    }
}
