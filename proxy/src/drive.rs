//! The one loop that joins a dialogue to a stream. It decides nothing.

use std::io;

use oxpost_protocol::{Action, Dialogue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is read at once during a login: a login is a few short lines.
const READ: usize = 2048;

/// Runs a dialogue until it has something to report.
///
/// # Errors
/// The connection broke.
pub async fn drive<D: Dialogue>(
    dialogue: &mut D,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<D::Event> {
    drive_and_note(dialogue, stream, |_| {}).await
}

/// The same; before each wait for the peer, `note` sees what the dialogue waits for.
///
/// # Errors
/// The connection broke.
pub async fn drive_and_note<D: Dialogue>(
    dialogue: &mut D,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    note: impl Fn(&D),
) -> io::Result<D::Event> {
    loop {
        if let Some(event) = say(dialogue, stream).await? {
            return Ok(event);
        }
        note(dialogue);
        let mut buffer = [0; READ];
        let count = stream.read(&mut buffer).await?;
        match buffer.get(..count) {
            Some(bytes) if count > 0 => dialogue.receive(bytes),
            _ => dialogue.receive_end(),
        }
    }
}

/// Sends what a dialogue has to say, until it wants to read (`None`) or reports something.
///
/// # Errors
/// The connection broke.
pub async fn say<D: Dialogue>(
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
