//! Stories of the relay, over real sockets on loopback.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// All that was heard of the client and of the server.
#[derive(Default, Clone)]
struct Heard(Arc<Mutex<[Vec<u8>; 2]>>);

impl Ear for Heard {
    fn client(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap()[0].extend_from_slice(bytes);
    }

    fn server(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap()[1].extend_from_slice(bytes);
    }
}

/// A relay in the middle of a client and a server, which the test plays.
struct Play {
    client: TcpStream,
    server: TcpStream,
    relay: JoinHandle<Relayed>,
    heard: Heard,
}

async fn play(to_server: &[u8], to_client: &[u8], idle: Duration) -> Play {
    let (client, facing_client) = pair().await;
    let (server, facing_server) = pair().await;
    let (to_server, to_client, heard) = (to_server.to_vec(), to_client.to_vec(), Heard::default());
    let mut ear = heard.clone();
    let relay = tokio::spawn(async move {
        let (client, server) = (Stream::Plain(facing_client), Stream::Plain(facing_server));
        relay(client, server, to_server, to_client, idle, &mut ear).await
    });
    Play { client, server, relay, heard }
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
async fn what_the_login_left_over_goes_first() {
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
    assert_eq!(*play.heard.0.lock().unwrap(), [at_server, at_client]);
}

/// The end of a download must not be lost because the server has ended while the client was still reading.
#[tokio::test]
async fn a_slow_reader_gets_every_byte_after_the_server_has_ended() {
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
async fn a_client_that_speaks_to_a_closed_server_still_gets_everything() {
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
async fn an_end_is_passed_on_in_its_direction_only() {
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
async fn both_directions_at_once() {
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
    assert!(*play.heard.0.lock().unwrap() == [up, down], "each byte is heard once, in order");
    writers.await.unwrap();
    play.relay.await.unwrap();
}

/// Taking no more from a server than its client takes: what the relay holds is bounded by one scratch buffer.
#[tokio::test]
async fn a_client_that_reads_nothing_stalls_its_server() {
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
async fn a_session_without_a_byte_ends_at_the_idle_timeout() {
    let play = play(b"", b"", Duration::from_secs(1800)).await;
    let before = Instant::now();
    let relayed = play.relay.await.unwrap();
    assert_eq!(relayed.end, End::Idle);
    assert!(before.elapsed() >= Duration::from_secs(1800));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_closes_is_let_go_after_the_server_has() {
    let play = play(b"", b"", HOUR).await;
    let before = Instant::now();
    drop(play.server);
    let relayed = play.relay.await.unwrap();
    assert_eq!(relayed.end, End::ByServer);
    assert!(before.elapsed() < HOUR, "{:?}", before.elapsed());
    drop(play.client);
}

#[tokio::test]
async fn a_client_that_breaks_off_takes_its_upstream_session_along() {
    let mut play = play(b"", b"", HOUR).await;
    socket2::SockRef::from(&play.client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(play.client);
    let mut rest = Vec::new();
    play.server.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    drop(play.server);
    assert!(matches!(play.relay.await.unwrap().end, End::ClientBroke | End::ByClient));
}
