//! Runs a dialogue on a stream. It decides nothing.

use std::io;
use std::time::Duration;

use oxpost_protocol::{Action, Dialogue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes in one read during a login: a login is a few short lines.
const READ_SIZE: usize = 2048;

/// How long a peer may still take to read what is being sent when the dialogue is interrupted, and to read the final reply.
pub(crate) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a dialogue that may be interrupted went on.
#[derive(Debug)]
pub(crate) enum Driven<E, I> {
    /// It has something to report.
    Event(E),
    /// It was interrupted between two lines: more can be sent.
    Interrupted(I),
    /// It was interrupted while the peer did not take what was being sent: nothing more can be sent.
    Stuck(I),
}

/// Runs a dialogue until it has something to report.
///
/// # Errors
/// The connection broke.
pub(crate) async fn drive<D: Dialogue>(
    dialogue: &mut D,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<D::Event> {
    drive_and_note(dialogue, stream, |_| {}).await
}

/// The same; before each wait for the peer, `note` sees what the dialogue waits for.
///
/// # Errors
/// The connection broke.
pub(crate) async fn drive_and_note<D: Dialogue>(
    dialogue: &mut D,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    note: impl Fn(&D),
) -> io::Result<D::Event> {
    loop {
        if let Some(event) = send(dialogue, stream).await? {
            return Ok(event);
        }
        note(dialogue);
        receive(dialogue, stream).await?;
    }
}

/// Runs a dialogue until it has something to report, or is interrupted. What is being sent is sent to its end.
///
/// # Errors
/// The connection broke.
pub(crate) async fn drive_until<D: Dialogue, I>(
    dialogue: &mut D,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    interrupt: impl Future<Output = I>,
) -> io::Result<Driven<D::Event, I>> {
    tokio::pin!(interrupt);
    loop {
        {
            let sending = send(dialogue, stream);
            tokio::pin!(sending);
            tokio::select! {
                biased;
                sent = &mut sending => {
                    if let Some(event) = sent? {
                        return Ok(Driven::Event(event));
                    }
                }
                why = &mut interrupt => {
                    return Ok(match timeout(GOODBYE_TIMEOUT, sending).await {
                        Ok(sent) => {
                            sent?;
                            Driven::Interrupted(why)
                        }
                        Err(_) => Driven::Stuck(why),
                    });
                }
            }
        }
        tokio::select! {
            biased;
            why = &mut interrupt => return Ok(Driven::Interrupted(why)),
            received = receive(dialogue, stream) => received?,
        }
    }
}

/// Waits for the peer's next bytes, or its end.
async fn receive<D: Dialogue>(dialogue: &mut D, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; READ_SIZE];
    let count = stream.read(&mut buffer).await?;
    match buffer.get(..count) {
        Some(bytes) if count > 0 => dialogue.receive(bytes),
        _ => dialogue.receive_end(),
    }
    Ok(())
}

/// Sends what a dialogue writes, until it wants to read (`None`) or reports something.
///
/// # Errors
/// The connection broke.
pub(crate) async fn send<D: Dialogue>(
    dialogue: &mut D,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Option<D::Event>> {
    loop {
        match dialogue.poll() {
            Action::Write(bytes) => stream.write_all(&bytes).await?,
            Action::Read => {
                stream.flush().await?;
                return Ok(None);
            }
            Action::Event(event) => {
                stream.flush().await?;
                return Ok(Some(event));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use oxpost_protocol::{Closed, LocalEvent, Offer, pop3};
    use tokio::io::duplex;

    use super::*;

    fn dialogue() -> pop3::Local {
        pop3::Local::new(Offer::default())
    }

    #[tokio::test(start_paused = true)]
    async fn interrupt_waits_for_the_line_that_is_being_sent() {
        let (mut client, mut stream) = duplex(4);
        let mut dialogue = dialogue();
        let driving = drive_until(&mut dialogue, &mut stream, ready(7));
        let mut greeting = [0; 23];
        let (driven, read) = tokio::join!(driving, client.read_exact(&mut greeting));
        read.unwrap();
        assert!(matches!(driven, Ok(Driven::Interrupted(7))), "{driven:?}");
        assert!(greeting.starts_with(b"+OK Oxpost") && greeting.ends_with(b"ready\r\n"), "{greeting:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn interrupt_ends_a_line_that_the_client_does_not_take() {
        let (_client, mut stream) = duplex(4);
        let began = tokio::time::Instant::now();
        let driven = drive_until(&mut dialogue(), &mut stream, ready(7)).await;
        assert!(matches!(driven, Ok(Driven::Stuck(7))), "{driven:?}");
        assert_eq!(began.elapsed(), GOODBYE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn interrupt_ends_the_wait_for_a_silent_client() {
        let (_client, mut stream) = duplex(100);
        let interrupt = tokio::time::sleep(Duration::from_secs(60));
        let driven = drive_until(&mut dialogue(), &mut stream, interrupt).await;
        assert!(matches!(driven, Ok(Driven::Interrupted(()))), "{driven:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn broken_connection_ends_an_interrupted_line_as_well() {
        let (client, mut stream) = duplex(4);
        drop(client);
        assert!(drive_until(&mut dialogue(), &mut stream, ready(7)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn dialogue_without_interrupt_reports_its_event() {
        let (mut client, mut stream) = duplex(100);
        client.write_all(b"QUIT\r\n").await.unwrap();
        let driven = drive_until(&mut dialogue(), &mut stream, pending::<()>()).await;
        assert!(matches!(driven, Ok(Driven::Event(LocalEvent::Closed(Closed::ByClient)))), "{driven:?}");
    }

    #[tokio::test]
    async fn dialogue_receives_the_end_of_the_client() {
        let (mut client, mut stream) = duplex(100);
        client.shutdown().await.unwrap();
        let event = drive(&mut dialogue(), &mut stream).await;
        assert!(matches!(event, Ok(LocalEvent::Closed(Closed::EndOfStream))), "{event:?}");
    }
}
