//! Stories of the relay, over real sockets on loopback.

use oxpost_protocol::tap::{Counts, Imap, Pop3};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::limits::close_request::{CloseHandle, close_request};

mod tls;

const HOUR: Duration = Duration::from_secs(3600);

/// A tap that lets everything go on.
#[derive(Default)]
struct Everything;

impl Tap for Everything {
    fn client(&mut self, bytes: &[u8]) -> Cut {
        Cut { pass: bytes.len(), taken: bytes.len() }
    }

    fn server(&mut self, bytes: &[u8], _: &mut dyn FnMut(Observation)) -> Cut {
        Cut { pass: bytes.len(), taken: bytes.len() }
    }

    fn end(&mut self, _: Peer) {}

    fn output(&mut self, _: Peer) -> Vec<u8> {
        Vec::new()
    }

    fn close(&mut self, _: &str) {}

    fn over(&self) -> Option<Over> {
        None
    }

    fn owes_reply(&self) -> bool {
        false
    }

    fn has_said_goodbye(&self, _: Peer) -> bool {
        false
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn held(&self) -> usize {
        0
    }
}

/// A relay in the middle of a client and a server, which the test plays.
struct Play {
    client: TcpStream,
    server: TcpStream,
    relay: JoinHandle<Relayed>,
    close: CloseHandle,
}

async fn play(to_server: &[u8], to_client: &[u8], idle: Duration) -> Play {
    through(Everything, to_server, to_client, idle).await
}

async fn through(mut tap: impl Tap + Send + 'static, to_server: &[u8], to_client: &[u8], idle: Duration) -> Play {
    let (client, facing_client) = pair().await;
    let (server, facing_server) = pair().await;
    let (to_server, to_client) = (to_server.to_vec(), to_client.to_vec());
    let (close, request) = close_request();
    let relay = tokio::spawn(async move {
        let client = Connection { stream: Stream::Plain(facing_client), unread: to_server };
        let server = Connection { stream: Stream::Plain(facing_server), unread: to_client };
        relay(client, server, &mut tap, |_| {}, idle, request).await
    });
    Play { client, server, relay, close }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Bytes that show any loss, repetition or swap.
fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(count).collect()
}

#[tokio::test]
async fn bytes_left_over_by_the_login_are_forwarded_first() {
    let mut play = play(b"a NOOP\r\n", b"* 3 EXISTS\r\n", HOUR).await;
    play.client.write_all(b"b LOGOUT\r\n").await.unwrap();
    play.server.write_all(b"a OK\r\n").await.unwrap();
    let (mut at_server, mut at_client) = ([0; 18], [0; 18]);
    play.server.read_exact(&mut at_server).await.unwrap();
    play.client.read_exact(&mut at_client).await.unwrap();
    assert_eq!((&at_server, &at_client), (b"a NOOP\r\nb LOGOUT\r\n", b"* 3 EXISTS\r\na OK\r\n"));
    drop(play.server);
    drop(play.client);
    let relayed = play.relay.await.unwrap();
    assert_eq!((relayed.to_server, relayed.to_client), (18, 18));
}

/// The end of a download must not be lost because the server has ended while the client was still reading.
#[tokio::test]
async fn slow_reader_receives_every_byte_after_the_server_ends() {
    let play = play(b"", b"", HOUR).await;
    let sent = pattern(8 << 20);
    let copy = sent.clone();
    let (mut server_reads, mut server_writes) = play.server.into_split();
    let server = tokio::spawn(async move {
        server_writes.write_all(&copy).await.unwrap();
        server_writes.shutdown().await.unwrap();
        let mut heard = String::new();
        server_reads.read_to_string(&mut heard).await.unwrap();
        heard
    });
    let (mut client_reads, mut client_writes) = play.client.into_split();
    let (mut got, mut piece) = (Vec::new(), vec![0; 3000]);
    loop {
        match client_reads.read(&mut piece).await.unwrap() {
            0 => break,
            count => got.extend_from_slice(&piece[..count]),
        }
        tokio::task::yield_now().await;
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    client_writes.write_all(b"LOGOUT\r\n").await.unwrap();
    drop((client_reads, client_writes));
    assert_eq!(server.await.unwrap(), "LOGOUT\r\n", "a server that only half-closed still hears its client");
    assert_eq!(play.relay.await.unwrap().end, End::ByServer);
}

/// A client that says something to a server that is gone must still get what the server had said: a socket closed with
/// unread bytes in it resets the connection, and the reset overtakes the data.
#[tokio::test]
async fn client_writing_to_a_closed_server_receives_everything() {
    let mut play = play(b"", b"", HOUR).await;
    let sent = pattern(100_000);
    play.server.write_all(&sent).await.unwrap();
    let mut got = vec![0; 1000];
    play.client.read_exact(&mut got).await.unwrap();
    drop(play.server);
    for _ in 0..20 {
        play.client.write_all(b"x NOOP\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    play.client.read_to_end(&mut got).await.unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    drop(play.client);
    play.relay.await.unwrap();
}

#[tokio::test]
async fn end_of_one_side_closes_one_direction() {
    let mut play = play(b"", b"", HOUR).await;
    play.client.write_all(b"QUIT\r\n").await.unwrap();
    play.client.shutdown().await.unwrap();
    let mut asked = String::new();
    play.server.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "QUIT\r\n");
    play.server.write_all(b"+OK bye\r\n").await.unwrap();
    play.server.shutdown().await.unwrap();
    let mut answered = String::new();
    play.client.read_to_string(&mut answered).await.unwrap();
    assert_eq!(answered, "+OK bye\r\n");
    let relayed = play.relay.await.unwrap();
    assert_eq!(relayed, Relayed { to_server: 6, to_client: 9, end: End::ByClient });
}

#[tokio::test]
async fn both_directions_concurrently() {
    let play = play(b"", b"", HOUR).await;
    let (up, down) = (pattern(5_000_001), pattern(4_000_003));
    let (mut client_reads, mut client_writes) = play.client.into_split();
    let (mut server_reads, mut server_writes) = play.server.into_split();
    let (up_copy, down_copy) = (up.clone(), down.clone());
    let writers = tokio::spawn(async move {
        let up = async {
            client_writes.write_all(&up_copy).await.unwrap();
            client_writes.shutdown().await.unwrap();
        };
        let down = async {
            server_writes.write_all(&down_copy).await.unwrap();
            server_writes.shutdown().await.unwrap();
        };
        tokio::join!(up, down);
    });
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    let (a, b) = tokio::join!(server_reads.read_to_end(&mut at_server), client_reads.read_to_end(&mut at_client));
    a.unwrap();
    b.unwrap();
    assert!(at_server == up && at_client == down);
    writers.await.unwrap();
    play.relay.await.unwrap();
}

/// Taking no more from a server than its client takes: what the relay holds is bounded by one scratch buffer.
#[tokio::test]
async fn client_that_does_not_read_stalls_its_server() {
    let play = play(b"", b"", HOUR).await;
    let chunk = pattern(1 << 20);
    let mut taken = 0;
    // Until the kernel's buffers are full on the whole way; far more than they hold would mean that we hold it.
    loop {
        match tokio::time::timeout(Duration::from_millis(500), play.server.writable()).await {
            Ok(writable) => writable.unwrap(),
            Err(_) => break,
        }
        match play.server.try_write(&chunk) {
            Ok(count) => taken += count,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(taken < 256 << 20, "the relay takes without bound");
    }
    drop(play.client);
    drop(play.server);
}

#[tokio::test(start_paused = true)]
async fn session_without_bytes_ends_at_the_idle_timeout() {
    let play = play(b"", b"", Duration::from_secs(1800)).await;
    let before = Instant::now();
    let relayed = play.relay.await.unwrap();
    assert_eq!(relayed.end, End::Idle);
    assert!(ends_after(before, 1800), "{:?}", before.elapsed());
}

fn ends_after(before: Instant, seconds: u64) -> bool {
    before.elapsed().as_secs().abs_diff(seconds) <= 1
}

#[tokio::test(start_paused = true)]
async fn client_that_never_closes_is_closed_after_the_server() {
    let play = play(b"", b"", HOUR).await;
    // A long silence before counts for nothing.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let before = Instant::now();
    drop(play.server);
    let relayed = play.relay.await.unwrap();
    assert_eq!(relayed.end, End::ByServer);
    assert!(ends_after(before, LINGER.as_secs()), "{:?}", before.elapsed());
    drop(play.client);
}

#[tokio::test(start_paused = true)]
async fn silent_server_of_a_half_closed_client_gets_its_time() {
    for (said, seconds) in [
        ("a SEARCH TEXT x\r\n", OWED_REPLY_TIMEOUT.as_secs()),
        ("a IDLE\r\n", LINGER.as_secs()),
        ("", LINGER.as_secs()),
        ("a LOGIN x y\r\n", LINGER.as_secs()),
    ] {
        let mut play = through(Imap::default(), b"", b"", HOUR).await;
        play.client.write_all(said.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let before = Instant::now();
        play.client.shutdown().await.unwrap();
        let relayed = play.relay.await.unwrap();
        assert_eq!(relayed.end, End::ByClient);
        assert!(ends_after(before, seconds), "{said} {:?}", before.elapsed());
    }
    // One that answers meanwhile begins its time again, and one that has answered has less of it.
    let mut play = through(Pop3::default(), b"", b"", HOUR).await;
    play.client.write_all(b"RETR 1\r\n").await.unwrap();
    play.client.shutdown().await.unwrap();
    let before = Instant::now();
    tokio::time::sleep(Duration::from_secs(500)).await;
    play.server.write_all(b"+OK\r\nx\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(500)).await;
    play.server.write_all(b".\r\n").await.unwrap();
    assert_eq!(play.relay.await.unwrap().to_client, 11);
    assert!(ends_after(before, 1000 + LINGER.as_secs()), "{:?}", before.elapsed());
}

/// What it reads until the end, and how that was.
async fn rest(stream: &mut TcpStream) -> (String, Result<(), std::io::ErrorKind>) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).await.map(|_| ()).map_err(|error| error.kind());
    (String::from_utf8(rest).unwrap(), end)
}

#[tokio::test]
async fn login_again_is_answered_in_its_place_and_stays_here() {
    let unread = b"a NOOP\r\nb LOGIN alice hunter2\r\nc CAPABILITY\r\n";
    let mut play = through(Imap::default(), unread, b"* 1 EXI", HOUR).await;
    let mut at_server = [0; 22];
    play.server.read_exact(&mut at_server).await.unwrap();
    assert_eq!(&at_server, b"a NOOP\r\nc CAPABILITY\r\n");
    play.server.write_all(b"STS\r\na OK\r\n* CAPABILITY IDLE AUTH=XOAUTH2\r\nc OK\r\n").await.unwrap();
    play.server.shutdown().await.unwrap();
    let expected = "* 1 EXISTS\r\na OK\r\nb BAD Already logged in\r\n* CAPABILITY IDLE\r\nc OK\r\n";
    assert_eq!(rest(&mut play.client).await, (expected.into(), Ok(())));
    drop(play.client);
    assert_eq!(rest(&mut play.server).await.0, "");
    assert_eq!(play.relay.await.unwrap().to_client, expected.len() as u64);
}

#[tokio::test]
async fn login_answers_are_bounded_for_a_client_that_does_not_read() {
    let play = through(Imap::default(), b"", b"", HOUR).await;
    let line = b"a LOGIN alice hunter2\r\n".repeat(1000);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), play.client.writable()).await.is_ok() {
        sent += play.client.try_write(&line[sent % line.len()..]).unwrap_or(0);
        assert!(sent < 64 << 20, "the relay takes without bound");
    }
    let (mut reads, writes) = play.client.into_split();
    let mut answers = vec![0; 25 * (sent / 23)];
    reads.read_exact(&mut answers).await.unwrap();
    assert!(answers == b"a BAD Already logged in\r\n".repeat(sent / 23), "each is answered");
    drop((reads, writes, play.server));
    play.relay.await.unwrap();
}

#[tokio::test]
async fn closing_session_finishes_what_is_in_flight() {
    for (idle, first, answer) in
        [(false, "a FETCH 1 BODY[]\r\n", "* 1 FETCH (BODY[] {2}\r\nx"), (true, "a IDLE\r\n", "+ idling\r\n")]
    {
        let mut play = through(Imap::default(), first.as_bytes(), b"", HOUR).await;
        let mut heard = vec![0; first.len()];
        play.server.read_exact(&mut heard).await.unwrap();
        play.server.write_all(answer.as_bytes()).await.unwrap();
        let mut got = vec![0; answer.len()];
        play.client.read_exact(&mut got).await.unwrap();
        play.close.close(CloseReason::Stopping);
        if !idle {
            play.client.write_all(b"b NOOP\r\n").await.unwrap();
            play.server.write_all(b"y)\r\na OK\r\n").await.unwrap();
            let mut got = [0; 10];
            play.client.read_exact(&mut got).await.unwrap();
        }
        let bye = "* BYE Oxpost is stopping; try again in a minute\r\n";
        assert_eq!(rest(&mut play.client).await, (bye.into(), Ok(())));
        let logout = if idle { "DONE\r\nOXPOST LOGOUT\r\n" } else { "OXPOST LOGOUT\r\n" };
        assert_eq!(rest(&mut play.server).await, (logout.into(), Ok(())));
        drop(play.client);
        assert_eq!(play.relay.await.unwrap().end, End::Closed(CloseReason::Stopping));
    }
    let mut play = through(Pop3::default(), b"RETR 1\r\n", b"+OK\r\nx\r\n", HOUR).await;
    let (mut heard, mut got) = ([0; 8], [0; 8]);
    play.server.read_exact(&mut heard).await.unwrap();
    play.client.read_exact(&mut got).await.unwrap();
    play.close.close(CloseReason::Stopping);
    play.server.write_all(b".\r\n").await.unwrap();
    let bye = ".\r\n-ERR [SYS/TEMP] Oxpost is stopping; try again in a minute\r\n";
    assert_eq!(rest(&mut play.client).await, (bye.into(), Ok(())));
    assert_eq!(rest(&mut play.server).await, (String::new(), Ok(())), "no QUIT: nothing is deleted");
    drop(play.client);
    assert_eq!(play.relay.await.unwrap().end, End::Closed(CloseReason::Stopping));
}

#[tokio::test(start_paused = true)]
async fn client_that_ignores_the_goodbye_is_closed_soon() {
    let play = through(Imap::default(), b"", b"", HOUR).await;
    let before = Instant::now();
    play.close.close(CloseReason::Stopping);
    assert_eq!(play.relay.await.unwrap().end, End::Closed(CloseReason::Stopping));
    assert!(ends_after(before, CLOSE_TIMEOUT.as_secs()), "{:?}", before.elapsed());
    drop(play.client);
}

#[tokio::test]
async fn broken_connection_is_not_closed_in_order_on_the_other() {
    for (said, end, relayed) in [
        ("* 1 EXISTS\r\n", Err(std::io::ErrorKind::ConnectionReset), End::ServerBroke),
        ("* BYE signing off\r\n", Ok(()), End::ByServer),
    ] {
        let mut play = through(Imap::default(), b"", b"", HOUR).await;
        play.server.write_all(said.as_bytes()).await.unwrap();
        let mut got = vec![0; said.len()];
        play.client.read_exact(&mut got).await.unwrap();
        socket2::SockRef::from(&play.server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(play.server);
        assert_eq!(rest(&mut play.client).await, (String::new(), end), "{said}");
        drop(play.client);
        assert_eq!(play.relay.await.unwrap().end, relayed);
    }
}

#[tokio::test]
async fn broken_client_ends_its_upstream_session() {
    let mut play = play(b"", b"", HOUR).await;
    socket2::SockRef::from(&play.client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(play.client);
    let mut rest = Vec::new();
    play.server.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    drop(play.server);
    assert_eq!(play.relay.await.unwrap().end, End::ClientBroke);
}

#[tokio::test(start_paused = true)]
async fn bytes_before_the_end_reach_a_slow_server() {
    let ((mut client, facing_client), (mut server, facing_server)) = (duplex(16 * 1024), duplex(64));
    let session = tokio::spawn(async move {
        let of = |stream| Connection { stream: Stream::Memory(Box::new(stream)), unread: Vec::new() };
        relay(of(facing_client), of(facing_server), &mut Imap::default(), |_| {}, HOUR, CloseRequest::never()).await
    });
    // The length of the second literal cannot be read.
    let said = format!("a APPEND x {{5000+}}\r\n{}\r\nb SELECT {{99999999999999999999+}}\r\n", "x".repeat(5000));
    client.write_all(said.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert!(heard == said.as_bytes(), "{} of {} bytes", heard.len(), said.len());
    drop(server);
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "* BYE The length of this literal cannot be read\r\n");
    drop(client);
    assert_eq!(session.await.unwrap().end, End::LoginNotFollowed);
}

#[tokio::test(start_paused = true)]
async fn server_bytes_reach_a_slow_half_closed_client() {
    let ((mut client, facing_client), (mut server, facing_server)) = (duplex(64), duplex(16 * 1024));
    let session = tokio::spawn(async move {
        let of = |stream| Connection { stream: Stream::Memory(Box::new(stream)), unread: Vec::new() };
        relay(of(facing_client), of(facing_server), &mut Imap::default(), |_| {}, HOUR, CloseRequest::never()).await
    });
    let said = "* 1 EXISTS\r\n".repeat(500);
    server.write_all(said.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    client.write_all(b"b SELECT {99999999999999999999+}\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with(&said), "{} of {} bytes", heard.len(), said.len());
    drop(server);
    assert_eq!(session.await.unwrap().end, End::LoginNotFollowed);
}

/// An idle session keeps this future for as long as it lasts.
#[tokio::test]
async fn relay_of_an_idle_session_is_small() {
    let (client, facing_client) = pair().await;
    let (server, facing_server) = pair().await;
    let mut tap = Imap::default();
    let size = size_of_val(&tap);
    let client_side = Connection { stream: Stream::Plain(facing_client), unread: Vec::new() };
    let server_side = Connection { stream: Stream::Plain(facing_server), unread: Vec::new() };
    let future = relay(client_side, server_side, &mut tap, |_| {}, HOUR, CloseRequest::never());
    let size = size + size_of_val(&future);
    drop(future);
    drop((client, server));
    assert!(size <= 1536, "{size} bytes");
}
