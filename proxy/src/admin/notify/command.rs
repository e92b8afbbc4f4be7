//! A command of the administrator's: started without a shell, with the message in environment variables and as JSON on its
//! standard input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::deliver::Undelivered;
use super::message::Message;
use crate::config::NotifyCommand as Command;

/// How long the command may take. Then it is ended.
pub(crate) const TIME: Duration = Duration::from_secs(30);

impl Command {
    pub(super) fn heard(self) -> Self {
        Self { is_heard: true, ..self }
    }

    /// Runs it once, to its end.
    ///
    /// # Errors
    /// It cannot be started, takes too long, or ends with another status than 0.
    pub async fn run(&self, message: &Message) -> Result<(), Undelivered> {
        self.run_within(message, TIME).await
    }

    async fn run_within(&self, message: &Message, time: Duration) -> Result<(), Undelivered> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments);
        for variable in &self.withheld {
            command.env_remove(variable);
        }
        command.envs(message.variables());
        let stderr = if self.is_heard { Stdio::inherit() } else { Stdio::null() };
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
        let program = self.program.to_string_lossy();
        let failed = |why: String, try_again| Undelivered { why: format!("the command {program} {why}"), try_again };
        let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {error}"), false))?;
        let stdin = child.stdin.take();
        let json = message.json();
        let reading = async move {
            // It may well end without having read anything.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(json.as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
        };
        // Not `join`: a command that ends while what it started still holds its standard input has ended.
        let ended = async {
            tokio::pin!(reading);
            let waiting = child.wait();
            tokio::pin!(waiting);
            tokio::select! {
                ended = &mut waiting => ended,
                () = &mut reading => waiting.await,
            }
        };
        match tokio::time::timeout(time, ended).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(failed(format!("ended with {status}"), true)),
            Ok(Err(error)) => Err(failed(format!("cannot be waited for: {error}"), true)),
            Err(_) => {
                let _ = child.kill().await;
                Err(failed(format!("took longer than {} s and was ended", time.as_secs()), true))
            }
        }
    }
}

#[cfg(test)]
mod tests;
