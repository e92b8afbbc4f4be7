//! The log of a running program, read while it grows.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::sync::watch;

use super::Problem;
use super::binary::PATIENCE;

/// A log that grows, and those who wait for a line of it.
#[derive(Clone)]
pub(super) struct Log {
    text: Arc<Mutex<String>>,
    /// Changes with each line; closed at the end of the log.
    grown: watch::Receiver<()>,
}

impl Log {
    /// Reads a log from now on.
    pub(super) fn follow(from: impl AsyncBufRead + Send + Unpin + 'static) -> Self {
        let (sender, grown) = watch::channel(());
        let text = Arc::default();
        tokio::spawn(fill(Arc::clone(&text), sender, from));
        Self { text, grown }
    }

    pub(super) fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first thing that `find` finds in a line, now or later.
    pub(super) async fn wait<T>(&self, find: impl Fn(&Line<'_>) -> Option<T>) -> Result<T, Problem> {
        let mut grown = self.grown.clone();
        let waiting = async {
            loop {
                grown.mark_unchanged();
                if let Some(found) = self.text().lines().find_map(|line| find(&Line(line))) {
                    return Some(found);
                }
                if grown.changed().await.is_err() {
                    // The end of the log; its last line may have come just before.
                    return self.text().lines().find_map(|line| find(&Line(line)));
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Problem::new(format!("oxpost has ended. Its log:\n{}", self.text()))),
            Err(_) => Err(Problem::new(format!("oxpost does not log what was waited for. Its log:\n{}", self.text()))),
        }
    }

    /// Waits for the end of the log.
    pub(super) async fn whole(&self) {
        let mut grown = self.grown.clone();
        let _ = tokio::time::timeout(PATIENCE, async { while grown.changed().await.is_ok() {} }).await;
    }
}

async fn fill(text: Arc<Mutex<String>>, grown: watch::Sender<()>, mut from: impl AsyncBufRead + Unpin) {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
        line.clear();
        grown.send_replace(());
    }
}

/// One line of the log.
pub(super) struct Line<'a>(pub(super) &'a str);

impl Line<'_> {
    pub(super) fn message(&self) -> String {
        self.field("message")
    }

    pub(super) fn field(&self, name: &str) -> String {
        let object: serde_json::Value = serde_json::from_str(self.0).unwrap_or_default();
        object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn a_log_is_waited_for_until_its_end() {
        let (mut write, read) = tokio::io::duplex(64);
        let log = Log::follow(BufReader::new(read));
        let waiting = log.wait(|line| (line.message() == "two").then(|| line.field("n")));
        let writing = async {
            tokio::io::AsyncWriteExt::write_all(
                &mut write,
                b"{\"message\":\"one\"}\nnoise\n{\"message\":\"two\",\"n\":\"2\"}\n",
            )
            .await
        };
        let (found, written) = tokio::join!(waiting, writing);
        written.unwrap();
        assert_eq!(found.unwrap(), "2");
        drop(write);
        let problem = log.wait(|line| (line.message() == "three").then_some(())).await.unwrap_err().to_string();
        assert!(problem.contains("oxpost has ended") && problem.contains("noise"), "{problem}");
    }
}
