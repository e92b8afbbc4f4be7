//! Programs of others: found, run to their end within a bound, and quoted when they fail.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Problem;

/// A program that has not ended by then hangs. No step of a test takes a tenth of it, so it decides nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Debian keeps servers, which the PATH of a normal user does not name.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The program's place.
///
/// # Errors
/// It is not installed. A test never passes by default because something is missing: it fails and says what to run.
pub fn find(program: &str) -> Result<PathBuf, Problem> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
        .ok_or_else(|| {
            Problem::new(format!("`{program}` is not installed, and this test plays with it. Run: ./tests/install"))
        })
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// A program that has ended.
pub struct Ran {
    /// How it was called.
    pub call: String,
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// What it wrote to standard output.
    ///
    /// # Errors
    /// It has failed; the error quotes it.
    pub fn output(self) -> Result<Vec<u8>, Problem> {
        if self.status == Some(0) { Ok(self.stdout) } else { Err(Problem::new(self.to_string())) }
    }

    /// The same as text.
    ///
    /// # Errors
    /// It has failed, or wrote no text.
    pub fn said(self) -> Result<String, Problem> {
        String::from_utf8(self.output()?).map_err(|error| Problem::new(error.to_string()))
    }

    /// What it says with the exit status of a refusal.
    ///
    /// # Errors
    /// It has another one.
    pub fn refusal(self) -> Result<String, Problem> {
        if self.status == Some(1) { Ok(self.text()) } else { Err(Problem::new(self.to_string())) }
    }

    /// What `status` or `doctor` prints, whether or not something needs attention.
    ///
    /// # Errors
    /// It has failed, or wrote no text.
    pub fn report(self) -> Result<String, Problem> {
        match self.status {
            Some(0 | 3) => String::from_utf8(self.stdout).map_err(|error| Problem::new(error.to_string())),
            _ => Err(Problem::new(self.to_string())),
        }
    }

    /// The accounts of `status --json`.
    ///
    /// # Errors
    /// It has failed, or printed something else.
    pub fn accounts(self) -> Result<serde_json::Value, Problem> {
        let report: serde_json::Value =
            serde_json::from_str(&self.report()?).map_err(|error| Problem::new(error.to_string()))?;
        report.get("accounts").cloned().ok_or_else(|| Problem::new(format!("no accounts: {report}")))
    }

    /// What `status` or `doctor` prints with the exit status for something that needs attention.
    ///
    /// # Errors
    /// It has another one.
    pub fn attention(self) -> Result<String, Problem> {
        if self.status == Some(3) { Ok(self.text()) } else { Err(Problem::new(self.to_string())) }
    }

    /// Everything it wrote, as text.
    pub fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.map_or_else(|| "a signal".to_owned(), |status| format!("status {status}"));
        write!(formatter, "`{}` ended with {status} and said:\n{}", self.call, self.text().trim_end())
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or does not end. An exit status is no error here.
pub async fn run(mut command: Command, input: &[u8]) -> Result<Ran, Problem> {
    let call = words(&command);
    let cannot = |error: std::io::Error| Problem::new(format!("`{call}` cannot be run: {error}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // It may end without having read everything, which is its affair.
        tokio::spawn(async move { stdin.write_all(&input).await });
    }
    match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
        Ok(ended) => {
            let output = ended.map_err(cannot)?;
            Ok(Ran { call, status: output.status.code(), stdout: output.stdout, stderr: output.stderr })
        }
        Err(_) => Err(Problem::new(format!("`{call}` has not ended within {} s", PATIENCE.as_secs()))),
    }
}

fn words(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_fails_with_the_remedy() {
        let problem = find("no-such-mail-program").unwrap_err().to_string();
        assert!(problem.contains("no-such-mail-program") && problem.contains("./tests/install"), "{problem}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_failing_program_is_quoted() {
        let mut command = Command::new(find("sh").unwrap());
        command.args(["-c", "read line; echo \"read $line\"; echo aside >&2; exit 3"]);
        let ran = run(command, b"something\n").await.unwrap();
        assert_eq!(ran.status, Some(3));
        let problem = ran.output().unwrap_err().to_string();
        assert!(
            problem.contains("status 3") && problem.contains("read something") && problem.contains("aside"),
            "{problem}"
        );
    }
}
