//! The mail program of the demo: the least of SMTP, IMAP and POP3, spoken line by line.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::Problem;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::ALICE;
use crate::columns::Columns;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The message that makes the round. Its lines are the awkward ones: a dot at the beginning, and letters beyond ASCII.
pub(crate) fn message() -> Vec<u8> {
    format!(
        "From: {ALICE}\r\nTo: {ALICE}\r\nSubject: from the scanner\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         Page 1 of 1, gr\u{fc}n.\r\n.a line that begins with a dot\r\n"
    )
    .into_bytes()
}

/// Sends the message.
pub(crate) async fn send(
    columns: &mut Columns<'_>,
    address: SocketAddr,
    password: &str,
    message: &[u8],
) -> Result<(), Problem> {
    let mut session = Session::connect(columns, address).await?;
    session.until("220 ").await?;
    session.say("EHLO scanner.local").await?;
    session.until("250 ").await?;
    session.say("AUTH LOGIN").await?;
    session.until("334 ").await?;
    session.say_hidden(&STANDARD.encode(ALICE), "<user name in base64>").await?;
    session.until("334 ").await?;
    session.say_hidden(&STANDARD.encode(password), "<password in base64>").await?;
    session.until("235 ").await?;
    session.say(&format!("MAIL FROM:<{ALICE}>")).await?;
    session.until("250 ").await?;
    session.say(&format!("RCPT TO:<{ALICE}>")).await?;
    session.until("250 ").await?;
    session.say("DATA").await?;
    session.until("354 ").await?;
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        let dot = if line.starts_with(b".") { "." } else { "" };
        session.say(&format!("{dot}{}", String::from_utf8_lossy(line).trim_end())).await?;
    }
    session.say(".").await?;
    session.until("250 ").await?;
    session.say("QUIT").await?;
    session.until("221 ").await
}

/// Reads the last message of the inbox.
pub(crate) async fn read_by_imap(
    columns: &mut Columns<'_>,
    address: SocketAddr,
    password: &str,
) -> Result<Vec<u8>, Problem> {
    let mut session = Session::connect(columns, address).await?;
    session.until("* OK").await?;
    session.say(&format!("a1 LOGIN {ALICE} {password}")).await?;
    session.until("a1 OK").await?;
    session.say("a2 SELECT INBOX").await?;
    session.until("a2 OK").await?;
    session.say("a3 FETCH * BODY.PEEK[]").await?;
    let begin = session.until_line(|line| line.ends_with('}')).await?;
    let size = begin.rsplit_once('{').and_then(|(_, size)| size.trim_end_matches('}').parse().ok());
    let message = session.exactly(size.ok_or_else(|| Problem::new(format!("no literal: {begin}")))?).await?;
    session.until("a3 OK").await?;
    session.say("a4 LOGOUT").await?;
    session.until("a4 OK").await?;
    Ok(message)
}

/// Reads the first message of the mailbox.
pub(crate) async fn read_by_pop3(
    columns: &mut Columns<'_>,
    address: SocketAddr,
    password: &str,
) -> Result<Vec<u8>, Problem> {
    let mut session = Session::connect(columns, address).await?;
    session.until("+OK").await?;
    session.say(&format!("USER {ALICE}")).await?;
    session.until("+OK").await?;
    session.say(&format!("PASS {password}")).await?;
    session.until("+OK").await?;
    session.say("RETR 1").await?;
    session.until("+OK").await?;
    let mut message = Vec::new();
    loop {
        let line = session.raw_line().await?;
        match line.strip_prefix(b".") {
            Some(b"\r\n") => break,
            Some(rest) => message.extend_from_slice(rest),
            None => message.extend_from_slice(&line),
        }
    }
    session.columns.note(&format!("… {} bytes of message …", message.len()));
    session.say("QUIT").await?;
    session.until("+OK").await?;
    Ok(message)
}

/// Logs in and out.
pub(crate) async fn look_in(columns: &mut Columns<'_>, address: SocketAddr, password: &str) -> Result<(), Problem> {
    let mut session = Session::connect(columns, address).await?;
    session.until("* OK").await?;
    session.say(&format!("b1 LOGIN {ALICE} {password}")).await?;
    session.until("b1 OK").await?;
    session.say("b2 LOGOUT").await?;
    session.until("b2 OK").await
}

/// Logs in with a wrong password.
pub(crate) async fn guess(columns: &mut Columns<'_>, address: SocketAddr) -> Result<(), Problem> {
    let mut session = Session::connect(columns, address).await?;
    session.until("* OK").await?;
    session.say(&format!("c1 LOGIN {ALICE} letmein")).await?;
    session.until("c1 NO").await?;
    session.say("c2 LOGOUT").await?;
    session.until("c2 OK").await
}

struct Session<'a, 'b> {
    columns: &'a mut Columns<'b>,
    stream: BufReader<TcpStream>,
}

impl<'a, 'b> Session<'a, 'b> {
    async fn connect(columns: &'a mut Columns<'b>, address: SocketAddr) -> Result<Self, Problem> {
        Ok(Self { columns, stream: BufReader::new(TcpStream::connect(address).await?) })
    }

    async fn say(&mut self, line: &str) -> Result<(), Problem> {
        self.columns.said(line, None);
        self.send(line).await
    }

    async fn say_hidden(&mut self, line: &str, shown: &str) -> Result<(), Problem> {
        self.columns.said(line, Some(shown));
        self.send(line).await
    }

    async fn send(&mut self, line: &str) -> Result<(), Problem> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(())
    }

    /// Hears lines up to one that begins like this.
    async fn until(&mut self, beginning: &str) -> Result<(), Problem> {
        self.until_line(|line| line.starts_with(beginning)).await.map(drop)
    }

    async fn until_line(&mut self, last: impl Fn(&str) -> bool) -> Result<String, Problem> {
        loop {
            let line = self.raw_line().await?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.columns.heard(&line);
            if last(&line) {
                return Ok(line);
            }
        }
    }

    async fn raw_line(&mut self) -> Result<Vec<u8>, Problem> {
        let mut line = Vec::new();
        match tokio::time::timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await {
            Ok(Ok(count)) if count > 0 => Ok(line),
            Ok(Ok(_)) => Err(Problem::new("Oxpost has closed the connection")),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Problem::new("Oxpost does not answer")),
        }
    }

    async fn exactly(&mut self, size: usize) -> Result<Vec<u8>, Problem> {
        let mut bytes = vec![0; size];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut bytes))
            .await
            .map_err(|_| Problem::new("Oxpost does not send the message"))??;
        self.columns.note(&format!("… {size} bytes of message …"));
        Ok(bytes)
    }
}
