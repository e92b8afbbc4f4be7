//! A command that goes on until Ctrl-C, read line by line.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::Problem;
use super::binary::PATIENCE;
#[cfg(unix)]
use super::program;

/// A command that runs. It is killed when this is dropped.
pub struct FollowedCommand {
    #[cfg_attr(not(unix), expect(dead_code, reason = "held for its end: only on Unix it is interrupted"))]
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl FollowedCommand {
    pub(super) fn begin(mut command: Command) -> Result<Self, Problem> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Problem::new("no standard output"))?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// What it writes up to the next line that contains `words`, with that line.
    ///
    /// # Errors
    /// No such line arrived in time, or the command has ended.
    pub async fn until(&mut self, words: &str) -> Result<String, Problem> {
        let mut heard = String::new();
        let reading = async {
            while let Some(line) = self.lines.next_line().await? {
                heard.push_str(&line);
                heard.push('\n');
                if line.contains(words) {
                    return Ok(true);
                }
            }
            Ok::<_, std::io::Error>(false)
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(true)) => Ok(heard),
            _ => Err(Problem::new(format!("no line with {words:?}; received:\n{heard}"))),
        }
    }

    /// Ctrl-C. Gives back its exit status, and what it wrote after what was read.
    ///
    /// # Errors
    /// It does not end.
    #[cfg(unix)]
    pub async fn interrupt(mut self) -> Result<(Option<i32>, String), Problem> {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("/bin/sh");
            kill.args(["-c", &format!("kill -INT {id}")]);
            program::run(kill, b"").await?.output()?;
        }
        let mut rest = String::new();
        let ending = async {
            while let Some(line) = self.lines.next_line().await? {
                rest.push_str(&line);
                rest.push('\n');
            }
            self.child.wait().await
        };
        match tokio::time::timeout(PATIENCE, ending).await {
            Ok(ended) => Ok((ended?.code(), rest)),
            Err(_) => Err(Problem::new("it does not end by Ctrl-C")),
        }
    }
}
