//! The report for a terminal, at most 80 columns wide.

use std::fmt;

use oxpost_token_store::Origin;

use super::condition::{Severity, severity};
use super::report::{Report, Shown, renamed};
use super::style::{BAD, GOOD, WARNING, styled};
use crate::admin::{circuit_report, clock_report, credential_expiry, node_report};
use crate::cli::table::table;
use crate::cli::times::distance;
use crate::cli::{block, nodes};

const HEADER: [&str; 5] = ["MAILBOX", "STATE", "TOKEN", "REFRESH", "LAST LOGIN"];

/// The other columns need 47 of 80.
const LONGEST_MAILBOX: usize = 33;

impl Report {
    /// Lines the accounts up. A long address has a line of its own.
    fn accounts_table(&self) -> String {
        let rows: Vec<Vec<String>> = self.accounts.iter().map(|shown| self.row(shown)).collect();
        let text = table(&HEADER, &rows);
        let mut lines = text.lines();
        let mut shown: String = lines.next().map(|header| format!("{header}\n")).unwrap_or_default();
        for (line, account) in lines.zip(&self.accounts) {
            let mailbox = account.account.mailbox.as_str();
            if mailbox.chars().count() > LONGEST_MAILBOX {
                shown.push_str(mailbox);
                shown.push('\n');
            }
            // Coloured once the columns are aligned: colours have no width.
            let state = self.condition(account);
            shown.push_str(&coloured(line, state));
            shown.push('\n');
        }
        shown
    }

    fn row(&self, shown: &Shown) -> Vec<String> {
        let Shown { account, state, last_login } = shown;
        let mailbox = account.mailbox.as_str();
        vec![
            if mailbox.chars().count() > LONGEST_MAILBOX { String::new() } else { mailbox.to_owned() },
            self.condition(shown).to_owned(),
            distance(state.access_token_expires, self.now),
            distance(state.next_refresh, self.now),
            distance(*last_login, self.now),
        ]
    }
}

/// The line with its state coloured: the first occurrence between two columns.
fn coloured(line: &str, state: &str) -> String {
    let style = match severity(state) {
        Severity::Good => GOOD,
        Severity::Warning => WARNING,
        Severity::Bad => BAD,
        Severity::Unused => return line.to_owned(),
    };
    match line.split_once(&format!("  {state}")) {
        Some((before, after)) => format!("{before}  {}{after}", styled(state, style)),
        None => line.to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.service_lines)?;
        if self.accounts.is_empty() && self.unreadable.is_empty() {
            return writeln!(f, "There are no accounts yet. Add one: oxpost account add ADDRESS");
        }
        f.write_str(&self.accounts_table())?;
        for open in &self.open_circuits {
            writeln!(f, "\n{}", circuit_report::sentence(open, &self.applications))?;
        }
        if !self.nodes.is_empty() {
            write!(f, "\n{}", nodes::shown(&self.nodes, self.database_now))?;
        }
        if let Some(disagreement) = node_report::disagreement(&self.nodes) {
            writeln!(f, "\n{disagreement}")?;
        }
        for (host, skew) in &self.clock_skews {
            writeln!(f, "\n{}", clock_report::sentence(host, skew))?;
        }
        for end in credential_expiry::ends(&self.applications, self.now) {
            writeln!(f, "\n{end}.")?;
        }
        for sentence in credential_expiry::next_secrets(&self.applications) {
            writeln!(f, "\n{sentence}")?;
        }
        for problem in self.accounts.iter().filter_map(|shown| self.problem(shown)) {
            writeln!(f, "\n{problem}")?;
        }
        for renamed in self.accounts.iter().filter_map(renamed) {
            writeln!(f, "\n{renamed}")?;
        }
        for shown in self.accounts.iter().filter(|shown| shown.account.origin != Origin::Disabled) {
            for line in self.refused.lines(&shown.account, |one| distance(Some(one.at), self.now)) {
                writeln!(f, "\n{line}")?;
            }
        }
        for notice in self.warnings() {
            writeln!(f, "\n{} {}", notice.what, notice.remedy)?;
        }
        for sentence in self.noticed.sentences(self.now) {
            writeln!(f, "\n{sentence}")?;
        }
        for changed in &self.changed {
            writeln!(f, "\n{changed}, in the database and not by Oxpost. See `oxpost store confirm`.")?;
        }
        for mailbox in &self.unreadable {
            writeln!(
                f,
                "\n{mailbox}: its record in the store is damaged. Run `oxpost account remove {mailbox}`, then add it again."
            )?;
        }
        if !self.blocks.is_empty() {
            let blocks = block::shown(&self.blocks, self.now);
            write!(
                f,
                "\nBlocked after too many failed logins; lift a block with `oxpost block lift ADDRESS`:\n{blocks}"
            )?;
        }
        Ok(())
    }
}
