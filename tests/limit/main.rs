//! Runs a test binary and gives each of its tests a time limit: `limit PROGRAM ARGUMENTS`. Cargo calls it so where
//! `CARGO_TARGET_…_RUNNER` names it, as `tests/run` does.
//!
//! libtest says of a test that has run for a minute that it has. If such a test has not ended at its limit, it fails, and so does
//! everything else in its binary that has not ended: a broken build ends, and names what hangs.

mod watch;

use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Duration;

use watch::Watch;

/// How often the limits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What libtest ends with when a test has failed.
const FAILED: u8 = 101;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("limit: {error}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run() -> std::io::Result<u8> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else { return Err(std::io::Error::other("call it as: limit PROGRAM …")) };
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
    // Whatever it starts ends with it.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("it has no standard output"))?;
    let (mut lines, mut line) = (BufReader::new(stdout), Vec::new());
    let mut watch = Watch::begin(Instant::now());
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            // What was read of a line before something else came stays in it.
            read = lines.read_until(b'\n', &mut line) => {
                if read? == 0 {
                    break;
                }
                watch.hear(&String::from_utf8_lossy(&line), Instant::now());
                show(&line)?;
                line.clear();
            }
            _ = look.tick() => {
                if let Some(why) = watch.overdue(Instant::now()) {
                    end(&mut child).await?;
                    show(watch.report(&why).as_bytes())?;
                    return Ok(FAILED);
                }
            }
            _ = tokio::signal::ctrl_c() => {
                end(&mut child).await?;
                return Ok(FAILED);
            }
        }
    }
    let status = child.wait().await?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

fn show(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Ends it, and everything that it has started.
async fn end(child: &mut Child) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(id) = child.id() {
        Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status().await?;
    }
    child.kill().await
}
