//! Stories of what carries mail, over real sockets on loopback. What the machine in it decides has its own transcripts.

use std::sync::Arc;

use oxpost_protocol::smtp::submission::{Options, Outcome, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::config::SendingLimits;
use crate::pacing::Pacing;

const HOUR: Duration = Duration::from_secs(3600);

/// A session in the middle of a client and a server, which the test plays.
struct Play {
    client: TcpStream,
    server: TcpStream,
    session: JoinHandle<(Carried, Vec<Event>)>,
}

async fn play(idle: Duration) -> Play {
    play_in(None, idle).await
}

async fn play_in(place: Option<Sending>, idle: Duration) -> Play {
    let (client, facing_client) = pair().await;
    let (server, facing_server) = pair().await;
    let session = tokio::spawn(async move {
        let options = Options { host_name: "x".into(), extensions: Vec::new() };
        let machine = Submission::new(options);
        let mut events = Vec::new();
        let (client, server) = (Stream::Plain(facing_client), Stream::Plain(facing_server));
        let carried = carry(client, server, machine, idle, place, |event| events.push(event.clone())).await;
        (carried, events)
    });
    Play { client, server, session }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

impl Play {
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
}

async fn hears(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

async fn hears_the_end(stream: &mut TcpStream) {
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

#[tokio::test]
async fn a_message_and_its_answer() {
    let mut play = play(HOUR).await;
    play.begin_message().await;
    play.ask("one\r\n.\r\n", "250 OK\r\n").await;
    play.ask("QUIT\r\n", "221 Bye\r\n").await;
    hears_the_end(&mut play.client).await;
    drop(play.client);
    let (carried, events) = play.session.await.unwrap();
    assert_eq!(carried.end, Ended::ByClient);
    assert_eq!(outcome(&events), &Outcome::Accepted("250 OK".into()));
}

/// A message that cannot go on: the server hears the end of the connection and not of the message, while the client, which
/// has not finished, is listened to and then told.
#[tokio::test]
async fn a_cut_server_hears_no_end_of_the_message() {
    let mut play = play(HOUR).await;
    play.begin_message().await;
    play.client.write_all(b"one\r\n").await.unwrap();
    hears(&mut play.server, "one\r\n").await;
    play.client.write_all(b"\r.\r\r\ntwo\r\n").await.unwrap();
    hears_the_end(&mut play.server).await;
    play.client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
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
#[tokio::test]
async fn what_the_server_does_not_take_the_client_cannot_send() {
    let mut play = play(HOUR).await;
    play.begin_message().await;
    let line = [vec![b'x'; 998], b"\r\n".to_vec()].concat();
    let sender = tokio::spawn(async move {
        for _ in 0..64 * 1024 {
            play.client.write_all(&line).await.unwrap();
        }
        play.client.write_all(b".\r\n").await.unwrap();
        play.client
    });
    // 64 MB cannot all be in the buffers of two loopback sockets.
    let mut taken = Vec::new();
    while taken.len() < 1 << 20 {
        assert!(play.server.read_buf(&mut taken).await.unwrap() > 0);
    }
    assert!(!sender.is_finished());
    let (mut count, mut end) = (taken.len(), taken.split_off(taken.len() - 5));
    let mut piece = vec![0; 64 * 1024];
    while !end.ends_with(b"\r\n.\r\n") {
        let read = play.server.read(&mut piece).await.unwrap();
        assert!(read > 0);
        count += read;
        end.extend_from_slice(&piece[..read]);
        end.drain(..end.len() - 5);
    }
    assert_eq!(count, 64 * 1024 * 1000 + 3);
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    let mut client = sender.await.unwrap();
    hears(&mut client, "250 OK\r\n").await;
    drop(client);
    let (carried, events) = play.session.await.unwrap();
    assert_eq!(carried.from_client, "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n".len() as u64 + count as u64);
    assert_eq!(outcome(&events), &Outcome::Accepted("250 OK".into()));
}

/// A client that closes its side behind its last command still hears everything.
#[tokio::test]
async fn an_end_is_an_end_of_one_side_only() {
    let mut play = play(HOUR).await;
    play.client.write_all(b"NOOP\r\nNOOP\r\n").await.unwrap();
    play.client.shutdown().await.unwrap();
    for _ in 0..2 {
        hears(&mut play.server, "NOOP\r\n").await;
        play.server.write_all(b"250 OK\r\n").await.unwrap();
        hears(&mut play.client, "250 OK\r\n").await;
    }
    hears_the_end(&mut play.server).await;
    hears_the_end(&mut play.client).await;
    assert_eq!(play.session.await.unwrap().0.end, Ended::ByClient);
}

/// A device that goes away behind its message without waiting: the answer is still heard, for the log.
#[tokio::test]
async fn the_answer_to_a_client_that_is_gone_is_still_heard() {
    let mut play = play(HOUR).await;
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
async fn a_server_that_breaks_in_a_message_is_an_answer() {
    let mut play = play(HOUR).await;
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

#[tokio::test]
async fn nobody_waits_for_ever() {
    let mut play = play(HOUR).await;
    play.begin_message().await;
    play.client.write_all(b"one\n.\n").await.unwrap();
    hears(&mut play.server, "one\r\n..\r\n").await;
    // From here on nothing happens but the time that goes by.
    tokio::time::pause();
    hears_the_end(&mut play.server).await;
    hears(&mut play.client, "421 4.4.2 Nothing was said for too long, closing\r\n").await;
    drop(play.client);
    let (carried, events) = play.session.await.unwrap();
    assert_eq!(carried.end, Ended::Idle);
    let Outcome::NotSent(why) = outcome(&events) else { panic!("{events:?}") };
    assert_eq!(format!("{why:?}"), "ClientGoneBehindBareLf");
}

/// One session may send at a time, and one message goes in a minute.
const ONE: SendingLimits = SendingLimits { at_once: 1, messages_per_minute: 1, recipients_per_day: 0 };

#[tokio::test]
async fn a_client_that_goes_while_its_message_waits_frees_its_place() {
    let pacing = Pacing::new(HOUR);
    let mut play = play_in(pacing.place(ONE).await, HOUR).await;
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.ask("RSET\r\n", "250 OK\r\n").await;
    play.client.write_all(b"MAIL FROM:<a@b.c>\r\n").await.unwrap();
    until(|| pacing.waiting() == 1).await;
    drop(play.client);
    hears_the_end(&mut play.server).await;
    assert_eq!(play.session.await.unwrap().0.end, Ended::ByClient);
    assert!(pacing.place(ONE).await.is_some());
    assert_eq!(pacing.waiting(), 0);
}

/// The message comes to its turn with all that was sent ahead of it, also when that is longer than the idle timeout.
#[tokio::test]
async fn a_message_waits_for_its_turn_and_nothing_is_lost() {
    let pacing = Pacing::new(HOUR);
    let mut play = play_in(pacing.place(ONE).await, Duration::from_secs(5)).await;
    play.ask("MAIL FROM:<a@b.c>\r\n", "250 OK\r\n").await;
    play.ask("RSET\r\n", "250 OK\r\n").await;
    play.client.write_all(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n").await.unwrap();
    until(|| pacing.waiting() == 1).await;
    tokio::time::pause();
    hears(&mut play.server, "MAIL FROM:<a@b.c>\r\n").await;
    tokio::time::resume();
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    hears(&mut play.server, "RCPT TO:<x@y.z>\r\n").await;
    play.server.write_all(b"250 OK\r\n").await.unwrap();
    hears(&mut play.server, "DATA\r\n").await;
    play.server.write_all(b"354 Go\r\n").await.unwrap();
    hears(&mut play.client, "250 OK\r\n250 OK\r\n354 Go\r\n").await;
    play.ask("one\r\n.\r\n", "250 OK\r\n").await;
}

/// A pool of connections that keeps one open, just in case.
#[tokio::test]
async fn a_session_at_rest_gives_its_place_to_those_who_wait() {
    let pacing = Arc::new(Pacing::new(HOUR));
    let mut play = play_in(pacing.place(ONE).await, HOUR).await;
    play.ask("NOOP\r\n", "250 OK\r\n").await;
    let next = tokio::spawn({
        let pacing = Arc::clone(&pacing);
        async move { pacing.place(ONE).await }
    });
    until(|| pacing.waiting() == 1).await;
    tokio::time::pause();
    hears(&mut play.client, "421 4.4.2 Nothing was said for too long, closing\r\n").await;
    hears_the_end(&mut play.server).await;
    assert!(next.await.unwrap().is_some());
}

/// What nobody needs to be waited for with a clock.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}
