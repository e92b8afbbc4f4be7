//! From SMTP to LMTP (RFC 2033), so that what Dovecot's submission service sends on is delivered to Dovecot itself.
//!
//! The two differ in the greeting's verb and in one reply for each recipient after the message. The bridge goes step by
//! step, so it hides PIPELINING and CHUNKING.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A bridge. It accepts no connection once this is dropped.
pub struct Bridge {
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Bridge {
    /// A bridge on 127.0.0.1 to an LMTP server, which need not listen yet.
    pub async fn open(lmtp: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(converse(client, lmtp));
                }
            }
        }));
        Ok(Self { address, stop })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn converse(client: TcpStream, lmtp: SocketAddr) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(lmtp).await?);
    let greeting = read_reply(&mut server).await?;
    client.write_all(&greeting).await?;
    let mut recipients = 0;
    loop {
        let line = read_line(&mut client).await?;
        if line.is_empty() {
            return Ok(());
        }
        let verb: Vec<u8> =
            line.iter().take_while(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_uppercase).collect();
        match verb.as_slice() {
            b"EHLO" | b"HELO" => {
                server.write_all(&[b"LHLO", &line[4..]].concat()).await?;
                let reply = read_reply(&mut server).await?;
                client.write_all(&without_shortcuts(&reply)).await?;
                continue;
            }
            b"MAIL" | b"RSET" => recipients = 0,
            _ => {}
        }
        server.write_all(&line).await?;
        let reply = read_reply(&mut server).await?;
        client.write_all(&reply).await?;
        if verb == b"RCPT" && reply.starts_with(b"2") {
            recipients += 1;
        }
        if verb == b"DATA" && reply.starts_with(b"354") {
            let reply = deliver(&mut client, &mut server, recipients).await?;
            client.write_all(&reply).await?;
        }
    }
}

/// The message, and of the replies for each recipient the first that is a failure, or the last.
async fn deliver(
    client: &mut BufReader<TcpStream>,
    server: &mut BufReader<TcpStream>,
    recipients: u32,
) -> io::Result<Vec<u8>> {
    loop {
        let line = read_line(client).await?;
        server.write_all(&line).await?;
        match line.as_slice() {
            b".\r\n" => break,
            b"" => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
    let mut answer = b"554 5.5.1 No recipients\r\n".to_vec();
    let mut failed = false;
    for _ in 0..recipients {
        let reply = read_reply(server).await?;
        if !failed {
            failed = !reply.starts_with(b"2");
            answer = reply;
        }
    }
    Ok(answer)
}

async fn read_line(from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await?;
    Ok(line)
}

/// RFC 5321 section 4.2.1: the last line has a blank behind its code.
async fn read_reply(from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    loop {
        let line = read_line(from).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&line);
        if line.get(3) != Some(&b'-') {
            return Ok(reply);
        }
    }
}

fn without_shortcuts(reply: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(reply);
    let offered = text.lines().filter_map(|line| line.get(4..));
    let kept: Vec<&str> = offered.filter(|line| !["PIPELINING", "CHUNKING", "STARTTLS"].contains(line)).collect();
    let (last, first) = kept.split_last().expect("a greeting has a first line");
    let lines = first.iter().map(|line| format!("250-{line}\r\n"));
    lines.chain([format!("250 {last}\r\n")]).collect::<String>().into_bytes()
}
