//! Stories of what carries mail, over connections in memory, so that the clock only moves when all else is done; those of
//! connections that break play over real sockets. What the machine in it decides has its own transcripts.

use std::sync::Arc;

use oxpost_protocol::smtp::submission::{NotSent, Options, Outcome, Report};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::config::SendingLimits;
use crate::limits::close_request::{CloseHandle, close_request};
use crate::limits::send_limiter::SendLimiter;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// The default.
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A session in the middle of a client and a server, which the test plays.
struct Play<S = DuplexStream> {
    client: S,
    server: S,
    session: JoinHandle<(SubmissionResult, Vec<Event>)>,
    close: CloseHandle,
}

/// What a connection in memory holds unread.
const ROOM: usize = 16 * 1024;

fn play() -> Play {
    play_in(None)
}

fn play_in(send_slot: Option<SendSlot>) -> Play {
    play_with(send_slot, FIVE_MINUTES)
}

fn play_with(send_slot: Option<SendSlot>, command_timeout: Duration) -> Play {
    let ((client, facing_client), (server, facing_server)) = (duplex(ROOM), duplex(ROOM));
    let streams = (Stream::Memory(Box::new(facing_client)), Stream::Memory(Box::new(facing_server)));
    play_over((client, server), streams, send_slot, command_timeout)
}

/// Over real sockets.
async fn play_on_loopback() -> Play<TcpStream> {
    let ((client, facing_client), (server, facing_server)) = (pair().await, pair().await);
    play_over((client, server), (Stream::Plain(facing_client), Stream::Plain(facing_server)), None, FIVE_MINUTES)
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn play_over<S>(
    (client, server): (S, S),
    facing: (Stream, Stream),
    send_slot: Option<SendSlot>,
    command_timeout: Duration,
) -> Play<S> {
    let (handle, close) = close_request();
    let session = tokio::spawn(async move {
        let options = Options { host_name: "x".into(), extensions: vec!["CHUNKING".into()] };
        let mut events = Vec::new();
        let settings = SubmissionSettings { command_timeout, send_slot, close };
        let (client, server) = (facing.0, Upstream::live(facing.1));
        let carried =
            relay_submission(client, server, Submission::new(options), settings, Collector(&mut events)).await;
        (carried, events)
    });
    Play { client, server, session, close: handle }
}

/// Keeps what happens to messages.
struct Collector<'a>(&'a mut Vec<Event>);

impl MessageObserver for Collector<'_> {
    fn begins(&mut self, _: &str, _: TakenBy) {}

    fn happened(&mut self, event: &Event, taken_by: TakenBy) {
        assert_eq!(taken_by, TakenBy::Live);
        self.0.push(event.clone());
    }

    fn ended(&mut self, _: TakenBy) {}
}

impl<S: AsyncRead + AsyncWrite + Unpin> Play<S> {
    /// The client says this, the server hears it and answers, and the client hears that.
    async fn ask(&mut self, command: &str, answer: &str) {
        self.client.write_all(command.as_bytes()).await.unwrap();
        hears(&mut self.server, command).await;
        self.server.write_all(answer.as_bytes()).await.unwrap();
        hears(&mut self.client, answer).await;
    }

    async fn begin_message(&mut self) {
        self.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
        self.ask("RCPT TO:<x@y.z>\r\n", "250 OK\r\n").await;
        self.ask("DATA\r\n", "354 Go\r\n").await;
    }

    /// The client hears this, after exactly so many seconds.
    async fn hears_in_time(&mut self, expected: &str, seconds: u64) {
        let began = Instant::now();
        hears(&mut self.client, expected).await;
        assert_eq!(whole_seconds(began), seconds);
    }

    /// The session ends by itself, for this reason, though neither peer closes; after exactly so many seconds.
    async fn ends_in_time(self, end: Ended, seconds: u64) -> Vec<Event> {
        let began = Instant::now();
        let (carried, events) = self.session.await.unwrap();
        assert_eq!((whole_seconds(began), carried.end), (seconds, end));
        events
    }
}

/// How long it took. A timer of tokio's may be late by some milliseconds.
fn whole_seconds(began: Instant) -> u64 {
    began.elapsed().as_secs()
}

async fn hears(stream: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

async fn hears_the_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

fn outcome(events: &[Event]) -> &Outcome {
    match events {
        [Event::Message(Report { outcome, .. })] => outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn message_is_relayed_with_its_reply() {
    let mut play = play();
    play.begin_message().await;
    play.ask("one\r\n.\r\n", "250 OK\r\n").await;
    play.ask("QUIT\r\n", "221 Bye\r\n").await;
    hears_the_end(&mut play.client).await;
    drop(play.client);
    let (carried, events) = play.session.await.unwrap();
    let from_client = "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\none\r\n.\r\nQUIT\r\n".len() as u64;
    let from_server = "250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n221 Bye\r\n".len() as u64;
    assert_eq!(carried, SubmissionResult { from_client, from_server, end: Ended::ByClient });
    assert_eq!(outcome(&events), &Outcome::Accepted("250 OK".into()));
}

/// A message that cannot go on: the server hears the end of the connection and not of the message, while the client, which
/// has not finished, is listened to and then told.
#[tokio::test(start_paused = true)]
async fn cut_server_receives_no_end_of_message() {
    let mut play = play();
    play.begin_message().await;
    play.client.write_all(b"one\r\n").await.unwrap();
    hears(&mut play.server, "one\r\n").await;
    play.client.write_all(b"\r.\r\r\ntwo\r\n").await.unwrap();
    hears_the_end(&mut play.server).await;
    play.client.write_all(&vec![b'x'; 1 << 17]).await.unwrap();
    play.client.write_all(b"\r\n.\r\nQUIT\r\n").await.unwrap();
    hears(
        &mut play.client,
        "550 5.6.0 The message has a CR without LF. Nothing of it was sent: lines must end in CRLF\r\n",
    )
    .await;
    hears(&mut play.client, "221 2.0.0 Oxpost signing off\r\n").await;
    hears_the_end(&mut play.client).await;
    drop(play.client);
    assert!(matches!(outcome(&play.session.await.unwrap().1), Outcome::NotSent(_)));
}

/// Back-pressure: while a server does not read, its client is not read from either.
#[tokio::test(start_paused = true)]
async fn client_is_not_read_while_the_server_does_not_read() {
    let mut play = play();
    play.begin_message().await;
    let line = [vec![b'x'; 998], b"\r\n".to_vec()].concat();
    let mut client = play.client;
    let sender = tokio::spawn(async move {
        for _ in 0..1024 {
            client.write_all(&line).await.unwrap();
        }
        client.write_all(b".\r\n").await.unwrap();
        client
    });
    let (mut count, mut end, mut piece) = (0, Vec::new(), vec![0; 4096]);
    while !end.ends_with(b"\r\n.\r\n") {
        // Both connections are full, and a read's worth is in the session.
        assert!(count > 1024 * 1000 - 4 * ROOM || !sender.is_finished());
        let read = play.server.read(&mut piece).await.unwrap();
        assert!(read > 0);
        count += read;
        end.extend_from_slice(&piece[..read]);
        end.drain(..end.len().saturating_sub(5));
    }
    assert_eq!(count, 1024 * 1000 + 3);
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    let mut client = sender.await.unwrap();
    hears(&mut client, "250 OK\r\n").await;
    drop(client);
    let (carried, events) = play.session.await.unwrap();
    assert_eq!(carried.from_client, "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n".len() as u64 + count as u64);
    assert_eq!(outcome(&events), &Outcome::Accepted("250 OK".into()));
}

/// A client that closes its side behind its last command still hears everything.
#[tokio::test(start_paused = true)]
async fn end_of_one_side_ends_that_side_only() {
    let mut play = play();
    play.client.write_all(b"NOOP\r\nNOOP\r\nQUIT\r\n").await.unwrap();
    play.client.shutdown().await.unwrap();
    for _ in 0..2 {
        hears(&mut play.server, "NOOP\r\n").await;
        play.server.write_all(b"250 OK\r\n").await.unwrap();
        hears(&mut play.client, "250 OK\r\n").await;
    }
    hears(&mut play.server, "QUIT\r\n").await;
    hears(&mut play.client, "221 2.0.0 Oxpost signing off\r\n").await;
    hears_the_end(&mut play.server).await;
    hears_the_end(&mut play.client).await;
    assert_eq!(play.session.await.unwrap().0.end, Ended::ByClient);
}

/// A device that goes away behind its message without waiting: the answer is still heard, for the log.
#[tokio::test]
async fn reply_for_a_disconnected_client_is_still_read() {
    let mut play = play_on_loopback().await;
    play.begin_message().await;
    play.client.write_all(b"one\r\n.\r\n").await.unwrap();
    hears(&mut play.server, "one\r\n.\r\n").await;
    play.client.set_zero_linger().unwrap();
    drop(play.client);
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    let (_, events) = play.session.await.unwrap();
    assert_eq!(outcome(&events), &Outcome::Accepted("250 OK".into()));
}

/// What a server has said before its connection broke reaches the client, and the client hears of the break.
#[tokio::test]
async fn server_that_breaks_in_a_message_is_reported() {
    let mut play = play_on_loopback().await;
    play.begin_message().await;
    play.server.set_zero_linger().unwrap();
    drop(play.server);
    play.client.write_all(b"one\r\n.\r\nQUIT\r\n").await.unwrap();
    let mut heard = String::new();
    play.client.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("451 4.4.2 ") && heard.contains("\r\n221 "), "{heard}");
    drop(play.client);
    assert!(!matches!(outcome(&play.session.await.unwrap().1), Outcome::Accepted(_)));
}

const SILENT: &str = "421 4.4.2 Nothing was said for too long, closing\r\n";
const NOT_SENT: &str = "421 4.4.2 The rest of the message did not come, closing. Nothing of it was sent\r\n";
const SERVER_SILENT: &str = "421 4.4.2 The mail server did not answer in time\r\n";
const STOPPING: &str = "421 4.3.2 Oxpost is stopping; try again in a minute\r\n";

#[tokio::test(start_paused = true)]
async fn client_silent_between_messages_times_out_with_quit() {
    let mut play = play();
    play.ask("NOOP\r\n", "250 OK\r\n").await;
    play.hears_in_time(SILENT, 300).await;
    hears(&mut play.server, "QUIT\r\n").await;
    // The server does not answer, and the client does not close: ten seconds for the one, and sixty for the other.
    play.ends_in_time(Ended::ClientSilent, 70).await;
}

/// Neither does RSET, nor a MAIL that is reset again.
#[tokio::test(start_paused = true)]
async fn noop_is_not_activity() {
    let mut play = play();
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.ask("RSET\r\n", "250 OK\r\n").await;
    for command in ["NOOP\r\n", "HELP\r\n", "VRFY x\r\n", "RSET\r\n", "EHLO x\r\n", "X\r\n"] {
        sleep(40 * SECOND).await;
        let at_server = if command.starts_with("EHLO") { "RSET\r\n" } else { command };
        play.client.write_all(command.as_bytes()).await.unwrap();
        hears(&mut play.server, at_server).await;
        play.server.write_all(b"250 OK\r\n").await.unwrap();
        let answer = if command.starts_with("EHLO") { "250-x Hello\r\n250 CHUNKING\r\n" } else { "250 OK\r\n" };
        hears(&mut play.client, answer).await;
    }
    play.hears_in_time(SILENT, 60).await;
}

#[tokio::test(start_paused = true)]
async fn client_silent_after_mail_or_rcpt_times_out() {
    let mut play = play();
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.ask("RCPT TO:<x@y.z>\r\n", "250 OK\r\n").await;
    play.hears_in_time(SILENT, 300).await;
}

#[tokio::test(start_paused = true)]
async fn client_silent_in_a_message_times_out_undelivered() {
    let mut play = play();
    play.begin_message().await;
    play.client.write_all(b"one\r\n").await.unwrap();
    hears(&mut play.server, "one\r\n").await;
    play.hears_in_time(NOT_SENT, 300).await;
    hears_the_end(&mut play.server).await;
    drop(play.client);
    assert_eq!(outcome(&play.session.await.unwrap().1), &Outcome::NotSent(NotSent::ClientSilent));
}

/// Each part of the message that is large enough restarts the time; a trickle does not.
#[tokio::test(start_paused = true)]
async fn trickling_client_times_out() {
    let mut play = play();
    play.begin_message().await;
    let block = [vec![b'x'; 998], b"\r\n".to_vec()].concat().repeat(17);
    for (count, bytes) in [&block[..], &block, b"x\r\n", b"y\r\n"].into_iter().enumerate() {
        play.client.write_all(bytes).await.unwrap();
        hears(&mut play.server, std::str::from_utf8(bytes).unwrap()).await;
        sleep(if count < 2 { 200 * SECOND } else { 40 * SECOND }).await;
    }
    play.hears_in_time(NOT_SENT, 20).await;
}

#[tokio::test(start_paused = true)]
async fn message_ended_with_bare_lf_times_out_with_a_reason() {
    let mut play = play();
    play.begin_message().await;
    play.client.write_all(b"one\n.\n").await.unwrap();
    hears(&mut play.server, "one\r\n..\r\n").await;
    let answer = "550 5.6.0 A line with only a dot ends a message only if that line and the one before it end in CRLF, \
                  and here one ended in LF. Nothing of the message was sent\r\n";
    play.hears_in_time(answer, 10).await;
    hears_the_end(&mut play.server).await;
    // It heard the reason, and sends nothing more.
    play.hears_in_time(SILENT, 60).await;
    let events = play.ends_in_time(Ended::MessageGivenUp, 60).await;
    assert_eq!(outcome(&events), &Outcome::NotSent(NotSent::EndedWithBareLf));
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_replies_times_out() {
    let Play { mut client, mut server, session, .. } = play();
    tokio::spawn(async move {
        let mut heard = Vec::new();
        while server.read_buf(&mut heard).await.is_ok_and(|count| count > 0) {
            while let Some(rest) = heard.strip_prefix(b"NOOP\r\n") {
                heard = rest.to_vec();
                server.write_all(format!("250 {}\r\n", "x".repeat(900)).as_bytes()).await.unwrap();
            }
        }
    });
    let began = Instant::now();
    while client.write_all(b"NOOP\r\n").await.is_ok() {}
    assert_eq!((whole_seconds(began), session.await.unwrap().0.end), (300, Ended::ByClient));
    assert!(client.read_buf(&mut Vec::with_capacity(ROOM)).await.unwrap() > 0, "it could have had some");
}

/// Every command is answered here, so that the server has taken nothing, and only what the client takes shows that it lives.
#[tokio::test(start_paused = true)]
async fn client_that_reads_its_replies_slowly_keeps_its_session() {
    let mut play = play();
    let reply = b"503 5.5.1 TLS can only start before the login\r\n";
    let count = 4 * ROOM / reply.len();
    let (mut reading, mut writing) = tokio::io::split(play.client);
    let commands = b"STARTTLS\r\n".repeat(count);
    let sender = tokio::spawn(async move { writing.write_all(&commands).await.map(|()| writing) });
    let mut heard = Vec::new();
    while heard.len() < count * reply.len() {
        // When all the rest is in its connection, the session waits for its next command.
        if heard.len() + ROOM < count * reply.len() {
            sleep(200 * SECOND).await;
        }
        let mut part = vec![0; ROOM / 4];
        let read = reading.read(&mut part).await.unwrap();
        assert!(read > 0, "closed after {} of {} replies", heard.len() / reply.len(), count);
        heard.extend_from_slice(&part[..read]);
    }
    assert!(heard == reply.repeat(count));
    play.client = reading.unsplit(sender.await.unwrap().unwrap());
    play.ask("NOOP\r\n", "250 OK\r\n").await;
}

/// Nor has the client taken anything when the first command is on its way.
#[tokio::test(start_paused = true)]
async fn server_that_reads_a_command_slowly_keeps_its_session() {
    let ((client, facing_client), (server, facing_server)) = (duplex(ROOM), duplex(16));
    let streams = (Stream::Memory(Box::new(facing_client)), Stream::Memory(Box::new(facing_server)));
    let mut play = play_over((client, server), streams, None, FIVE_MINUTES);
    let command = format!("NOOP {}\r\n", "x".repeat(153));
    play.client.write_all(command.as_bytes()).await.unwrap();
    for part in command.as_bytes().chunks(16) {
        sleep(100 * SECOND).await;
        hears(&mut play.server, std::str::from_utf8(part).unwrap()).await;
    }
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    hears(&mut play.client, "250 OK\r\n").await;
}

/// Without a send slot nothing is known of how long to wait.
#[tokio::test(start_paused = true)]
async fn throttled_message_without_a_slot_is_not_retried() {
    let mut play = play();
    play.ask("MAIL FROM:<a@b.c>\r\n", "432 4.3.2 Concurrent connections limit exceeded\r\n").await;
    play.ask("NOOP\r\n", "250 OK\r\n").await;
}

/// The limits of RFC 5321, 4.5.3.2, in the order in which a session meets them.
#[tokio::test(start_paused = true)]
async fn server_timeout_depends_on_the_command() {
    for (ahead, command, seconds) in [
        (&[][..], "NOOP\r\n", 300),
        (&[], "MAIL FROM:<a@b.c>\r\n", 300),
        (&["MAIL FROM:<a@b.c>\r\n"], "RCPT TO:<x@y.z>\r\n", 300),
        (&["MAIL FROM:<a@b.c>\r\n", "RCPT TO:<x@y.z>\r\n"], "DATA\r\n", 120),
    ] {
        let mut play = play();
        for command in ahead {
            play.ask(command, "250 OK\r\n").await;
        }
        play.client.write_all(command.as_bytes()).await.unwrap();
        hears(&mut play.server, command).await;
        play.hears_in_time(SERVER_SILENT, seconds).await;
        // The client does not close.
        play.ends_in_time(Ended::ServerSilent, 60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn server_has_ten_minutes_after_the_final_dot() {
    let mut play = play();
    play.begin_message().await;
    play.client.write_all(b"one\r\n.\r\n").await.unwrap();
    hears(&mut play.server, "one\r\n.\r\n").await;
    let answer = "451 4.4.2 The mail server did not answer in time. Whether it took the message is not known\r\n";
    play.hears_in_time(answer, 600).await;
    hears_the_end(&mut play.server).await;
    play.client.write_all(b"QUIT\r\n").await.unwrap();
    hears(&mut play.client, "221 2.0.0 Oxpost signing off\r\n").await;
    drop(play.client);
    assert_eq!(outcome(&play.session.await.unwrap().1), &Outcome::InDoubt);
}

#[tokio::test(start_paused = true)]
async fn server_has_three_minutes_after_a_chunk() {
    let mut play = play();
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.client.write_all(b"BDAT 3\r\none").await.unwrap();
    hears(&mut play.server, "BDAT 3\r\none").await;
    let answer = "451 4.4.2 The mail server went away in the middle of the message. It was not sent: try again\r\n";
    play.hears_in_time(answer, 180).await;
}

#[tokio::test(start_paused = true)]
async fn server_has_ten_seconds_for_quit() {
    let mut play = play();
    play.client.write_all(b"QUIT\r\n").await.unwrap();
    hears(&mut play.server, "QUIT\r\n").await;
    play.hears_in_time("221 2.0.0 Oxpost signing off\r\n", 10).await;
    play.ends_in_time(Ended::ByClient, 60).await;
}

#[tokio::test(start_paused = true)]
async fn server_that_stops_reading_has_three_minutes() {
    let mut play = play();
    play.begin_message().await;
    let began = Instant::now();
    // It is cut, and the client may send the rest, which no server receives.
    play.client.write_all(&[vec![b'x'; 998], b"\r\n".to_vec()].concat().repeat(100)).await.unwrap();
    play.client.write_all(b".\r\n").await.unwrap();
    assert_eq!(whole_seconds(began), 180);
    let answer = "451 4.4.2 The mail server went away in the middle of the message. It was not sent: try again\r\n";
    play.hears_in_time(answer, 0).await;
    drop(play.client);
    assert_eq!(outcome(&play.session.await.unwrap().1), &Outcome::NotSent(NotSent::ServerGone));
}

/// A client that has closed cannot use any answer but the one to its whole message.
#[tokio::test(start_paused = true)]
async fn disconnected_client_ends_its_session_immediately() {
    for ahead in [&[][..], &["MAIL FROM:<a@b.c>\r\n"], &["MAIL FROM:<a@b.c>\r\n", "RCPT TO:<x@y.z>\r\n"]] {
        let mut play = play();
        for command in ahead {
            play.ask(command, "250 OK\r\n").await;
        }
        let silent_at = ["MAIL FROM:<a@b.c>\r\n", "RCPT TO:<x@y.z>\r\n", "DATA\r\n"][ahead.len()];
        play.client.write_all(silent_at.as_bytes()).await.unwrap();
        hears(&mut play.server, silent_at).await;
        drop(play.client);
        // No clock is needed.
        hears_the_end(&mut play.server).await;
        assert_eq!(play.session.await.unwrap().0.end, Ended::ByClient);
    }
}

/// Pipelined commands are executed as long as the server answers, and the answers are useful to a client that only closed a side.
#[tokio::test(start_paused = true)]
async fn half_a_message_of_a_disconnected_client_waits_ten_seconds() {
    let mut play = play();
    play.client.write_all(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\none\r\n").await.unwrap();
    play.client.shutdown().await.unwrap();
    hears(&mut play.server, "MAIL FROM:<a@b.c>\r\n").await;
    play.hears_in_time(SERVER_SILENT, 10).await;
}

#[tokio::test(start_paused = true)]
async fn server_has_ten_minutes_after_client_sent_final_dot() {
    let mut play = play();
    play.begin_message().await;
    play.client.write_all(b"one\r\n.\r\n").await.unwrap();
    play.client.shutdown().await.unwrap();
    hears(&mut play.server, "one\r\n.\r\n").await;
    let events = play.ends_in_time(Ended::ByClient, 600).await;
    assert_eq!(outcome(&events), &Outcome::InDoubt);
}

/// A session that was asked to end says so at rest, and takes leave of the server.
#[tokio::test(start_paused = true)]
async fn close_request_ends_the_session_between_messages() {
    let mut play = play();
    play.ask("NOOP\r\n", "250 OK\r\n").await;
    play.close.close(CloseReason::Stopping);
    hears(&mut play.client, STOPPING).await;
    hears(&mut play.server, "QUIT\r\n").await;
    play.server.write_all(b"221 Bye\r\n").await.unwrap();
    hears_the_end(&mut play.client).await;
    hears_the_end(&mut play.server).await;
    drop(play.client);
    assert_eq!(play.session.await.unwrap().0.end, Ended::OnRequest);
}

#[tokio::test(start_paused = true)]
async fn close_request_waits_for_the_message_in_flight() {
    let mut play = play();
    play.begin_message().await;
    play.close.close(CloseReason::Stopping);
    play.ask("one\r\n.\r\n", "250 OK\r\n").await;
    hears(&mut play.client, STOPPING).await;
    hears(&mut play.server, "QUIT\r\n").await;
    drop(play.server);
    drop(play.client);
    let (carried, events) = play.session.await.unwrap();
    assert_eq!((carried.end, outcome(&events)), (Ended::OnRequest, &Outcome::Accepted("250 OK".into())));
}

/// An envelope is in flight too, but its client must go on with it.
#[tokio::test(start_paused = true)]
async fn close_request_waits_briefly_for_an_envelope() {
    let mut play = play();
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.close.close(CloseReason::Stopping);
    play.hears_in_time(SILENT, 30).await;
}

/// One session may send at a time, and one message goes in a minute.
const ONE: SendingLimits = SendingLimits { max_connections: 1, messages_per_minute: 1, recipients_per_day: 0 };

#[tokio::test(start_paused = true)]
async fn client_that_disconnects_while_waiting_frees_its_slot() {
    let limiter = SendLimiter::new(HOUR);
    let mut play = play_in(limiter.send_slot(ONE).await);
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.ask("RSET\r\n", "250 OK\r\n").await;
    play.client.write_all(b"MAIL FROM:<a@b.c>\r\n").await.unwrap();
    until(|| limiter.waiting() == 1).await;
    drop(play.client);
    hears_the_end(&mut play.server).await;
    assert_eq!(play.session.await.unwrap().0.end, Ended::ByClient);
    assert!(limiter.send_slot(ONE).await.is_some());
    assert_eq!(limiter.waiting(), 0);
}

/// The message comes to its turn with all that was sent ahead of it, also when that is longer than the idle timeout.
#[tokio::test(start_paused = true)]
async fn message_that_waits_for_its_permit_is_complete() {
    let limiter = SendLimiter::new(HOUR);
    let mut play = play_with(limiter.send_slot(ONE).await, 5 * SECOND);
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.ask("RSET\r\n", "250 OK\r\n").await;
    play.client.write_all(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n").await.unwrap();
    until(|| limiter.waiting() == 1).await;
    hears(&mut play.server, "MAIL FROM:<a@b.c>\r\n").await;
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    hears(&mut play.server, "RCPT TO:<x@y.z>\r\n").await;
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    hears(&mut play.server, "DATA\r\n").await;
    play.server.write_all(b"354 Go\r\n").await.unwrap();
    hears(&mut play.client, "250 OK\r\n250 OK\r\n354 Go\r\n").await;
    play.ask("one\r\n.\r\n", "250 OK\r\n").await;
}

/// A pool of connections that keeps one open, just in case.
#[tokio::test(start_paused = true)]
async fn idle_session_frees_its_slot_for_waiters() {
    let limiter = Arc::new(SendLimiter::new(HOUR));
    let mut play = play_in(limiter.send_slot(ONE).await);
    play.ask("NOOP\r\n", "250 OK\r\n").await;
    let next = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.send_slot(ONE).await }
    });
    until(|| limiter.waiting() == 1).await;
    play.hears_in_time("421 4.3.2 Idle while others wait to send from this mailbox, closing\r\n", 5).await;
    hears(&mut play.server, "QUIT\r\n").await;
    play.server.write_all(b"221 Bye\r\n").await.unwrap();
    hears_the_end(&mut play.server).await;
    drop(play.client);
    assert!(next.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn idle_envelope_frees_its_slot_for_waiters_later() {
    let limiter = Arc::new(SendLimiter::new(HOUR));
    let mut play = play_in(limiter.send_slot(ONE).await);
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    let next = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.send_slot(ONE).await }
    });
    until(|| limiter.waiting() == 1).await;
    play.hears_in_time("421 4.3.2 Idle while others wait to send from this mailbox, closing\r\n", 30).await;
    hears(&mut play.server, "QUIT\r\n").await;
    drop(play.server);
    drop(play.client);
    assert!(next.await.unwrap().is_some());
}

/// A client that is gone does not keep the slot, though the server says nothing.
#[tokio::test(start_paused = true)]
async fn disconnected_client_frees_its_slot_immediately() {
    let limiter = SendLimiter::new(HOUR);
    let mut play = play_in(limiter.send_slot(ONE).await);
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.client.write_all(b"RCPT TO:<x@y.z>\r\n").await.unwrap();
    hears(&mut play.server, "RCPT TO:<x@y.z>\r\n").await;
    drop(play.client);
    assert!(limiter.send_slot(ONE).await.is_some());
}

/// Waits that need no clock.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}
