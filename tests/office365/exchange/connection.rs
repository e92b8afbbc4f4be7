//! One connection of a mail client: lines and octets in, lines and octets out, both written down; TLS at its beginning or
//! in its middle; and the faults that were set for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::office365::behaviour::{Act, Stage};
use crate::office365::transcript::{Direction, Protocol, Recorder, hidden_octets, masked};
use crate::office365::{Shared, lock};

/// So much is read in one call.
const CHUNK: usize = 64 * 1024;
/// So much output may wait for the client's next pause.
const MAX_WAITING_OUTPUT: usize = 256 * 1024;

/// How a conversation goes on after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// As usual.
    Serve,
    /// A fault has answered.
    Answered,
    /// The connection is over.
    Close,
}

pub(super) struct Connection {
    stream: Stream,
    input: Vec<u8>,
    output: Vec<u8>,
    recorder: Recorder,
    /// The longest line that came; the one with credentials is longer than any other.
    longest: Vec<u8>,
    /// Something was said since the client was last heard.
    has_said: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) protocol: Protocol,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>, protocol: Protocol) -> Self {
        let _ = stream.set_nodelay(true);
        let recorder = lock(&shared.transcripts).begin(protocol);
        let stream = Stream::Plain(stream);
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            recorder,
            longest: Vec::new(),
            has_said: false,
            shared,
            protocol,
        }
    }

    /// Its number among the transcripts.
    pub(super) fn number(&self) -> u64 {
        self.recorder.connection()
    }

    pub(super) fn encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The next line without its end, or nothing at the end of the stream. It is written down with its credentials masked.
    pub(super) async fn read_line(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let line = self.take_line(limit).await?;
        if let Some(line) = &line {
            self.recorder.line(Direction::Client, &masked(line));
        }
        Ok(line)
    }

    /// The same for a line that is nothing but credentials.
    pub(super) async fn read_credentials(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let line = self.take_line(limit).await?;
        if let Some(line) = &line {
            let shown = if line.len() < 2 { line.clone() } else { hidden_octets(line.len()).into_bytes() };
            self.recorder.line(Direction::Client, &shown);
        }
        Ok(line)
    }

    async fn take_line(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            let fresh = self.input.get(seen..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let mut line: Vec<u8> = self.input.drain(..=seen + at).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if line.len() > self.longest.len() {
                    self.longest.clone_from(&line);
                }
                return Ok(Some(line));
            }
            seen = self.input.len();
            if seen > limit {
                self.recorder.note("the line is too long");
                return Err(io::ErrorKind::InvalidData.into());
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Exactly so many octets of a literal or a chunk. `hidden` keeps them out of the transcript.
    pub(super) async fn read_octets(&mut self, count: usize, hidden: bool) -> io::Result<Vec<u8>> {
        let waiting = count.min(self.input.len());
        let mut octets: Vec<u8> = self.input.drain(..waiting).collect();
        self.flush().await?;
        octets.reserve_exact(count - waiting);
        let missing = u64::try_from(count - waiting).unwrap_or(u64::MAX);
        (&mut self.stream).take(missing).read_to_end(&mut octets).await?;
        if octets.len() < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if hidden {
            self.recorder.line(Direction::Client, hidden_octets(count).as_bytes());
        } else {
            self.recorder.body(Direction::Client, &octets);
        }
        Ok(octets)
    }

    /// A text up to CRLF "." CRLF, with the dots taken off again that RFC 5321 section 4.5.2 puts in.
    pub(super) async fn read_dotted(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        // The line end of the command before counts for the first dot.
        let mut text = b"\r\n".to_vec();
        text.append(&mut self.input);
        let mut seen = 0_usize;
        let end = loop {
            if let Some(at) = memmem::find(text.get(seen..).unwrap_or_default(), b"\r\n.\r\n") {
                break seen + at;
            }
            seen = text.len().saturating_sub(4);
            if text.len() > limit || !self.fill().await? {
                return Err(io::ErrorKind::InvalidData.into());
            }
            text.append(&mut self.input);
        };
        self.input = text.split_off(end + 5);
        text.truncate(end + 2);
        let mut plain = Vec::with_capacity(text.len());
        let mut from = 2;
        for at in memmem::find_iter(&text, b"\r\n.") {
            // The dot of a line that begins where the last piece ended was looked at already.
            let line_start = at + 2;
            plain.extend_from_slice(text.get(from..line_start).unwrap_or_default());
            from = line_start + 1;
        }
        plain.extend_from_slice(text.get(from..).unwrap_or_default());
        self.recorder.body(Direction::Client, &plain);
        self.recorder.line(Direction::Client, b".");
        Ok(plain)
    }

    /// Waits until the client has sent something; false at the end of the stream.
    pub(super) async fn wait(&mut self) -> io::Result<bool> {
        if self.input.is_empty() { self.fill().await } else { Ok(true) }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        self.flush().await?;
        self.input.reserve(CHUNK);
        let is_heard = self.stream.read_buf(&mut self.input).await? > 0;
        if is_heard && std::mem::take(&mut self.has_said) {
            self.recorder.round_trip();
        }
        Ok(is_heard)
    }

    /// A line of ours; it is sent at the client's next pause.
    pub(super) async fn say(&mut self, line: &str) -> io::Result<()> {
        self.recorder.line(Direction::Server, line.as_bytes());
        self.put(line.as_bytes()).await?;
        self.put(b"\r\n").await
    }

    /// Octets of ours that are no whole line; `shown` is what the transcript says about them.
    pub(super) async fn put_shown(&mut self, octets: &[u8], shown: &str) -> io::Result<()> {
        self.recorder.line(Direction::Server, shown.as_bytes());
        self.put(octets).await
    }

    /// The octets of a literal or a message.
    pub(super) async fn put_body(&mut self, octets: &[u8]) -> io::Result<()> {
        self.recorder.body(Direction::Server, octets);
        self.put(octets).await
    }

    async fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.has_said = true;
        if self.output.len() + octets.len() <= MAX_WAITING_OUTPUT {
            self.output.extend_from_slice(octets);
            return Ok(());
        }
        self.write_out().await?;
        self.stream.write_all(octets).await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.stream.flush().await
    }

    async fn write_out(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        self.stream.write_all(&output).await
    }

    /// Starts TLS. What was sent unencrypted after the command is discarded, and recorded.
    pub(super) async fn start_tls(&mut self) -> io::Result<()> {
        self.flush().await?;
        if !self.input.is_empty() {
            self.recorder.note(&format!("{} octets before TLS, discarded", self.input.len()));
            self.input.clear();
        }
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let accepted = TlsAcceptor::from(Arc::clone(&self.shared.tls)).accept(plain).await;
        match accepted {
            Ok(stream) => {
                let version = stream.get_ref().1.protocol_version();
                self.recorder.note(&version.map_or("TLS".to_owned(), |version| format!("{version:?}")));
                self.stream = Stream::Tls(Box::new(stream));
                Ok(())
            }
            Err(error) => {
                self.recorder.note(&format!("TLS failed: {error}"));
                Err(error)
            }
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.recorder.note(text);
    }

    /// Ends the connection; in order, with TLS's own farewell, or not.
    pub(super) async fn close(&mut self, in_order: bool) -> io::Result<()> {
        if matches!(self.stream, Stream::Gone) {
            return Ok(());
        }
        self.recorder.note("closed");
        if in_order {
            self.flush().await?;
            self.stream.shutdown().await?;
        }
        self.stream = Stream::Gone;
        Ok(())
    }

    /// Does what was set for this stage. `tag` is that of an IMAP command.
    pub(super) async fn stage(&mut self, stage: Stage, tag: &str) -> io::Result<Flow> {
        let protocol = self.protocol;
        let act = self.shared.behaviour_mut(|behaviour| {
            let faults = match protocol {
                Protocol::Imap => &mut behaviour.imap.faults,
                Protocol::Pop3 => &mut behaviour.pop3.faults,
                Protocol::Smtp => &mut behaviour.smtp.faults,
            };
            let fault = faults.iter_mut().find(|fault| fault.stage == stage && fault.times != Some(0))?;
            fault.times = fault.times.map(|times| times - 1);
            Some(fault.act.clone())
        });
        let Some(act) = act else { return Ok(Flow::Serve) };
        match act {
            Act::Close => return self.leave("fault: close", true).await,
            Act::Reset => {
                self.stream.reset_on_drop();
                return self.leave("fault: reset", false).await;
            }
            Act::HalfLine => {
                let start = if tag.is_empty() { "+O" } else { tag };
                self.put_shown(start.as_bytes(), start).await?;
                self.flush().await?;
                return self.leave("fault: cut in the middle of a line", false).await;
            }
            Act::Garbage => {
                self.put_shown(b"\x16\x03\x01\x00\xff\x00\xfe\r\n<html>\r\n", "fault: garbage").await?;
                return Ok(Flow::Answered);
            }
            Act::Say(line) => {
                let line = line.replace("{tag}", tag);
                let repeated = line.replace("{credentials}", &String::from_utf8_lossy(&self.longest));
                self.put_shown(format!("{repeated}\r\n").as_bytes(), &line).await?;
                return Ok(Flow::Answered);
            }
            Act::SayAndClose(line) => {
                self.say(&line.replace("{tag}", tag)).await?;
                return self.leave("fault: close", true).await;
            }
            Act::Silence => {
                self.note("fault: silence");
                self.flush().await?;
                self.shared.hold().await;
                return self.leave("fault: close", false).await;
            }
            Act::Hold => {
                self.flush().await?;
                self.shared.hold().await;
            }
            Act::Delay(pause) => {
                self.flush().await?;
                tokio::time::sleep(pause).await;
            }
        }
        Ok(Flow::Serve)
    }

    async fn leave(&mut self, note: &str, in_order: bool) -> io::Result<Flow> {
        self.note(note);
        self.close(in_order).await?;
        Ok(Flow::Close)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

impl Stream {
    fn reset_on_drop(&self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            Self::Gone => return,
        };
        let _ = tcp.set_zero_linger();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
