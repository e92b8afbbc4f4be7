//! `[notify]`: how alerts are delivered.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::time::{Duration, SystemTime};

use oxpost_protocol::Secret;
use serde::Deserialize;
use url::{Host, Url};

use super::file::{FilePath, Period};
use super::secret::private;

/// Longest header file read, in bytes. A bearer token may well have some kilobytes.
const HEADER_LIMIT: u64 = 16 * 1024;

/// The shortest reminder interval. Less is a mistake, or meant as "never".
const SHORTEST_REMINDER: Duration = Duration::from_secs(3600);

/// A command that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The variables with a secret in them, which it does not inherit.
    pub withheld: Vec<String>,
    /// Whether what it writes to standard error is shown.
    pub is_heard: bool,
}

/// `[notify]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Section {
    /// The address that messages are posted to.
    pub webhook: Option<String>,
    /// A file with one header line for it, such as `Authorization: Bearer …`, and nothing else.
    pub webhook_header_file: Option<FilePath>,
    /// A program and its arguments.
    pub command: Option<Vec<String>>,
    /// How often an alert that lasts is delivered again; zero for never.
    pub reminder: Period,
    /// How long before an expiry an alert is raised.
    pub warn_before: Period,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            webhook: None,
            webhook_header_file: None,
            command: None,
            reminder: Period(Duration::from_secs(24 * 3600)),
            // Certificates are often renewed by another department.
            warn_before: Period(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

/// How alerts are delivered.
#[derive(Debug, Clone)]
pub struct Notify {
    /// Where messages are posted to.
    pub webhook: Option<Webhook>,
    /// What is run.
    pub command: Option<Command>,
    /// How often an alert that lasts is delivered again; never, without one.
    pub reminder: Option<Duration>,
    /// How long before an expiry an alert is raised.
    pub warn_before: Duration,
}

/// Where messages are posted to. The path of such an address is often the secret itself, so it is not printed.
#[derive(Clone)]
pub struct Webhook {
    /// https, or http to this machine.
    pub url: Url,
    /// A header's name and value.
    pub header: Option<(String, Secret)>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// What is wrong: a key of the section, and the sentence.
type Wrong = (&'static str, String);

/// Checks the section; what is wrong is added to `problems`. `withheld` names the variables that have secrets in them.
pub(super) fn check(folder: &Path, section: &Section, withheld: Vec<String>, problems: &mut Vec<Wrong>) -> Notify {
    let webhook = webhook(folder, section).unwrap_or_else(|wrong| {
        problems.push(wrong);
        None
    });
    let command = section.command.as_deref().and_then(|words| {
        command(folder, words, withheld).map_err(|sentence| problems.push(("command", sentence))).ok()
    });
    let reminder = section.reminder.0;
    if !reminder.is_zero() && reminder < SHORTEST_REMINDER {
        problems.push(("reminder", "the shortest interval is one hour; write \"0s\" for none.".to_owned()));
    }
    for (key, period) in [("reminder", reminder), ("warn-before", section.warn_before.0)] {
        if period > super::check::LONGEST_PERIOD {
            problems.push((key, "at most one year.".to_owned()));
        }
    }
    Notify { webhook, command, reminder: (!reminder.is_zero()).then_some(reminder), warn_before: section.warn_before.0 }
}

fn webhook(folder: &Path, section: &Section) -> Result<Option<Webhook>, Wrong> {
    let Some(text) = &section.webhook else {
        return match section.webhook_header_file {
            Some(_) => Err(("webhook-header-file", "a header needs a `webhook`; add that, or remove this.".to_owned())),
            None => Ok(None),
        };
    };
    let wrong = |sentence: &str| ("webhook", sentence.to_owned());
    let url = Url::parse(text).map_err(|error| wrong(&format!("this is not an address: {error}.")))?;
    let here = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(wrong("this address has no host; write it like \"https://alerts.contoso.com/oxpost\".")),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && here) {
        return Err(wrong(
            "a webhook needs https://, which protects the notifications on the network; http:// is for this \
             machine only.",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("the address must not contain a user name or a password; use `webhook-header-file`."));
    }
    let header = section.webhook_header_file.as_ref().map(|file| header(&folder.join(&file.0))).transpose();
    let header = header.map_err(|sentence| ("webhook-header-file", sentence))?;
    Ok(Some(Webhook { url, header }))
}

/// One line, `Name: value`, from a file that is kept from others.
fn header(path: &Path) -> Result<(String, Secret), String> {
    let what = "one line such as `Authorization: Bearer …`";
    let text = private(path)?.text(HEADER_LIMIT).and_then(|text| text.value(what));
    let text = text.map_err(|error| format!("{}.", error.about(what)))?;
    let form = || format!("{} must contain {what}.", path.display());
    let line = text.reveal_str().unwrap_or_default();
    let (name, value) = line.split_once(':').ok_or_else(form)?;
    let value = value.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let is_value = !value.is_empty() && value.chars().all(|c| c == '\t' || !c.is_control());
    if !is_name || !is_value {
        return Err(form());
    }
    Ok((name.to_owned(), Secret::from(value)))
}

/// A program that is named with a folder must be there; one without is looked for where the system does.
fn command(folder: &Path, words: &[String], withheld: Vec<String>) -> Result<Command, String> {
    let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(
            "a command is a list of the program and its arguments, such as [\"/usr/local/bin/alert\", \"oxpost\"]."
                .into(),
        );
    };
    if words.iter().any(|word| word.contains('\0')) {
        return Err("an argument of a command cannot contain a NUL character.".into());
    }
    let mut program = PathBuf::from(program);
    if program.is_absolute() || words.iter().take(1).any(|word| word.contains(['/', MAIN_SEPARATOR])) {
        program = folder.join(program);
        if !program.is_file() {
            return Err(format!(
                "there is no program {}. It is started without a shell: the first string of the list is the program, each argument \
                 is another one.",
                program.display()
            ));
        }
    } else if program.to_string_lossy().contains(char::is_whitespace) {
        return Err(format!(
            "`{}` is one string with spaces, and no shell splits it; write each argument as a string of its own.",
            program.display()
        ));
    }
    Ok(Command { program: program.into_os_string(), arguments: arguments.to_vec(), withheld, is_heard: false })
}

/// The day that a client secret ends, as the Entra admin center shows it. It counts as over when that day begins in UTC.
///
/// # Errors
/// It is no date.
pub(crate) fn date(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(&format!("{text}T00:00:00Z"))
        .map_err(|_| format!("`{text}` is not a date; write it like \"2027-06-30\"."))
}

#[cfg(test)]
mod tests;
