//! Detecting that a client has disconnected while work is done for it.
//!
//! What a client sends meanwhile is read, within a bound, because the end of its stream is only visible after it. A client that
//! has sent commands and closes its side (`printf … | nc`) still wants its answers; one that closes without a command after its
//! login has disconnected.

use std::io;

use oxpost_protocol::LocalDialogue;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are read from a client while it should wait. Beyond them it is not read, and its end is not noticed.
const UNREAD_LIMIT: usize = 8 * 1024;

/// Bytes in one read.
const READ_SIZE: usize = 2048;

/// Does `work` for a client, unless the client goes away meanwhile; then `work` is dropped.
///
/// # Errors
/// The client has gone.
pub(crate) async fn unless_gone<T>(
    client: &mut (impl AsyncRead + Unpin),
    dialogue: &mut impl LocalDialogue,
    work: impl Future<Output = T>,
) -> io::Result<T> {
    tokio::pin!(work);
    let mut room = UNREAD_LIMIT;
    loop {
        let mut buffer = [0; READ_SIZE];
        let wanted = room.min(READ_SIZE);
        let read = async {
            match buffer.get_mut(..wanted) {
                Some(buffer) if !buffer.is_empty() => client.read(buffer).await,
                _ => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            read = read => read,
        };
        match read? {
            0 if dialogue.has_unread() => {
                dialogue.receive_end();
                room = 0;
            }
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                dialogue.receive(buffer.get(..count).unwrap_or_default());
                room -= count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use oxpost_protocol::{Action, Dialogue, LocalEvent, Offer, imap};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A client whose login waits for its answer, and the dialogue with it.
    fn waiting() -> (DuplexStream, DuplexStream, imap::Local) {
        let mut dialogue = imap::Local::new(Offer::default());
        dialogue.receive(b"a LOGIN me secret\r\n");
        loop {
            match dialogue.poll() {
                Action::Event(LocalEvent::Login(_)) => break,
                Action::Write(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let (client, near) = duplex(64 * 1024);
        (client, near, dialogue)
    }

    #[tokio::test]
    async fn disconnected_client_ends_the_work() {
        let (client, mut near, mut dialogue) = waiting();
        drop(client);
        let gone = unless_gone(&mut near, &mut dialogue, std::future::pending::<()>()).await;
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn half_closed_client_with_commands_keeps_the_work() {
        let (mut client, mut near, mut dialogue) = waiting();
        client.write_all(b"b NOOP\r\nc LOGOUT\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let (done, wait) = tokio::sync::oneshot::channel();
        let (outcome, ()) = tokio::join!(unless_gone(&mut near, &mut dialogue, wait), async {
            tokio::task::yield_now().await;
            done.send(7).unwrap();
        });
        assert_eq!(outcome.unwrap(), Ok(7));
        dialogue.accept(&[]);
        while let Action::Write(_) = dialogue.poll() {}
        assert_eq!(dialogue.into_unread(), b"b NOOP\r\nc LOGOUT\r\n");
    }

    #[tokio::test]
    async fn input_during_the_work_is_bounded() {
        let (mut client, mut near, mut dialogue) = waiting();
        client.write_all(&[b'x'; 20_000]).await.unwrap();
        let (done, wait) = tokio::sync::oneshot::channel();
        let (outcome, ()) = tokio::join!(unless_gone(&mut near, &mut dialogue, wait), async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            done.send(()).unwrap();
        });
        outcome.unwrap().unwrap();
        let mut rest = vec![0; 20_000 - UNREAD_LIMIT];
        near.read_exact(&mut rest).await.unwrap();
        dialogue.accept(&[]);
        while let Action::Write(_) = dialogue.poll() {}
        assert_eq!(dialogue.into_unread().len(), UNREAD_LIMIT);
    }
}
