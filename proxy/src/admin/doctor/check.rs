//! A line of the checklist.

use std::fmt;

use serde_json::{Value, json};

/// One check of one thing, and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// What was checked: `account scanner@contoso.com`.
    pub subject: String,
    /// Which check: `SMTP login`.
    pub name: String,
    /// How it went.
    pub verdict: Verdict,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is right; what was found.
    Pass(String),
    /// It works, and will not always: what, and what to do.
    Warning(String),
    /// It is wrong.
    Failed {
        /// What is wrong, and what to do about it.
        remedy: String,
        /// What the other side said, or the system.
        said: String,
    },
    /// Another check must pass first: its name.
    NotChecked(String),
}

impl Verdict {
    /// A failure with a remedy and nothing to quote.
    pub(super) fn failed(remedy: impl Into<String>) -> Self {
        Self::Failed { remedy: remedy.into(), said: String::new() }
    }

    /// Whether the checks that need this one may go on.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Self::Pass(_) | Self::Warning(_))
    }

    /// Whether something must be changed.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "passed",
            Self::Warning(_) => "warning",
            Self::Failed { .. } => "failed",
            Self::NotChecked(_) => "not-checked",
        }
    }

    fn mark(&self) -> &'static str {
        match self {
            Self::Pass(_) => "ok  ",
            Self::Warning(_) => "warn",
            Self::Failed { .. } => "FAIL",
            Self::NotChecked(_) => "--  ",
        }
    }
}

impl Check {
    /// As JSON, for scripts.
    pub(crate) fn json(&self) -> Value {
        let (text, said) = match &self.verdict {
            Verdict::Pass(text) | Verdict::Warning(text) => (text.clone(), ""),
            Verdict::Failed { remedy, said } => (remedy.clone(), said.as_str()),
            Verdict::NotChecked(needed) => (needs(needed), ""),
        };
        json!({
            "subject": self.subject,
            "check": self.name,
            "verdict": self.verdict.word(),
            "text": text,
            "server_reply": said,
        })
    }
}

fn needs(needed: &str) -> String {
    format!("not checked: needs {needed}")
}

/// Where the texts of a checklist begin.
const COLUMN: usize = 30;

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = COLUMN - 7;
        write!(f, "  {} {:<width$}", self.verdict.mark(), self.name)?;
        match &self.verdict {
            Verdict::Pass(text) | Verdict::Warning(text) => f.write_str(text),
            Verdict::NotChecked(needed) => f.write_str(&needs(needed)),
            Verdict::Failed { remedy, said } => {
                f.write_str(remedy)?;
                if !said.is_empty() {
                    write!(f, "\n{:COLUMN$}it said: {said}", "")?;
                }
                Ok(())
            }
        }
    }
}

/// The lines about one subject, being written; each says whether it is good.
pub(super) struct Checklist<'a> {
    subject: String,
    lines: &'a mut Vec<Check>,
}

impl<'a> Checklist<'a> {
    pub(super) fn new(subject: impl Into<String>, lines: &'a mut Vec<Check>) -> Self {
        Self { subject: subject.into(), lines }
    }

    pub(super) fn add(&mut self, name: impl Into<String>, verdict: Verdict) -> bool {
        let good = verdict.is_good();
        self.lines.push(Check { subject: self.subject.clone(), name: name.into(), verdict });
        good
    }

    pub(super) fn needs(&mut self, names: &[&str], needed: &str) {
        for name in names {
            self.add(*name, Verdict::NotChecked(needed.to_owned()));
        }
    }
}
