//! Two columns: the mail program's dialogue with Oxpost on the left, Oxpost's with Exchange on the right.

use oxpost_tests::office365::{Direction, Tenant};

/// Width of a column without a terminal to ask.
const WIDTH: usize = 58;

/// Prints a dialogue as it happens.
pub(crate) struct Columns<'a> {
    tenant: &'a Tenant,
    password: String,
    /// Upstream lines that were printed already.
    printed: usize,
    width: usize,
}

impl<'a> Columns<'a> {
    /// Begins behind what was said upstream so far. `password` and its base64 are never printed.
    pub(crate) fn new(tenant: &'a Tenant, password: &str) -> Self {
        let terminal = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok());
        let width = terminal.map_or(WIDTH, |columns| (columns.saturating_sub(8) / 2).clamp(38, 90));
        Self { tenant, password: password.to_owned(), printed: upstream(tenant).len(), width }
    }

    /// Begins a session.
    pub(crate) fn title(&self, title: &str) {
        println!("\n     {title}\n");
        let width = self.width;
        println!("     {:<width$} Oxpost and Exchange (TLS)", "mail program and Oxpost");
        println!("     {} {}", "─".repeat(self.width - 1), "─".repeat(self.width - 1));
    }

    /// What the mail program says. `shown` stands for it when it is not to be printed.
    pub(crate) fn said(&mut self, line: &str, shown: Option<&str>) {
        let shown = shown.map_or_else(|| line.replace(&self.password, "********"), str::to_owned);
        self.left(&format!("C: {shown}"));
    }

    /// What the mail program hears; before it, what this has caused upstream.
    pub(crate) fn heard(&mut self, line: &str) {
        self.right();
        self.left(&format!("S: {line}"));
    }

    /// A remark on the left.
    pub(crate) fn note(&mut self, text: &str) {
        self.left(&format!("   {text}"));
    }

    fn left(&self, text: &str) {
        println!("     {}", cut(text, self.width));
    }

    fn right(&mut self) {
        let said = upstream(self.tenant);
        for line in said.iter().skip(self.printed) {
            println!("     {:width$} {}", "", cut(line, self.width), width = self.width);
        }
        self.printed = said.len();
    }
}

fn upstream(tenant: &Tenant) -> Vec<String> {
    let transcripts = tenant.transcripts();
    let entries = transcripts.iter().flat_map(|transcript| &transcript.entries);
    entries
        .map(|(direction, line)| match direction {
            Direction::Client => format!("C: {line}"),
            Direction::Server => format!("S: {line}"),
            Direction::Note => format!("   ({line})"),
        })
        .collect()
}

/// As much of a line as fits.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() < width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    format!("{kept}…")
}
