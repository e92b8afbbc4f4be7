//! `oxpost account sender`: who an account may send as.

use oxpost_token_store::{Mailbox, SenderMode, SenderPolicy, Store};

use super::known;
use crate::cli::Failed;

/// What becomes of senders.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SenderOptions {
    /// The mail address of the account
    mailbox: Mailbox,
    /// What becomes of a sender that is not its own address and not allowed: as-is, account or map; without it, what is said
    /// now is shown
    mode: Option<SenderMode>,
    /// A sender that it may send as besides its own address, or all of a domain (`*@contoso.com`); several times
    #[arg(long, value_name = "SENDER", requires = "mode")]
    allow: Vec<String>,
    /// With map: whose place is taken, and by whom; the first rule that fits holds
    #[arg(long, value_name = "FROM=TO", requires = "mode")]
    rule: Vec<String>,
}

impl SenderOptions {
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Whether it only asks.
    pub(super) fn only_asks(&self) -> bool {
        self.mode.is_none()
    }
}

pub(super) async fn sender(options: SenderOptions, store: &Store) -> Result<(), Failed> {
    let SenderOptions { mailbox, mode, allow, rule } = options;
    let mut account = known(store, &mailbox).await?;
    if let Some(mode) = mode {
        let mut rules = Vec::new();
        for text in &rule {
            let (from, to) = text
                .split_once('=')
                .ok_or_else(|| Failed::new(format!("`{text}` is no rule: write --rule '*@old.local={mailbox}'.")))?;
            rules.push((from, to));
        }
        let policy = SenderPolicy::parse(mode, allow.iter().map(String::as_str), rules)
            .map_err(|error| Failed::new(format!("{error}.")))?;
        store.set_senders(&mailbox, &policy).await?;
        account.senders = policy;
        println!("Of every message that is sent from now on:");
    }
    println!("{}:", account.senders.mode);
    let own = if account.mailbox.is_pattern() { "the mailbox".to_owned() } else { mailbox.to_string() };
    for line in described(&own, &account.senders, account.sends_as_another()) {
        println!("{line}");
    }
    Ok(())
}

/// The policy in sentences.
fn described(own: &str, policy: &SenderPolicy, held: bool) -> Vec<String> {
    let allowed: Vec<String> =
        [own.to_owned()].into_iter().chain(policy.allowed.iter().map(ToString::to_string)).collect();
    let allowed = format!("A message may be from {}.", allowed.join(", "));
    let mut lines = match policy.mode {
        SenderMode::AsIs if policy.allowed.is_empty() && !held => {
            return vec![
                "A message may be from anybody; the mail server says whether it may.".into(),
                "If it says SendAsDenied, give the account Send As there, or replace senders: oxpost account sender --help"
                    .into(),
            ];
        }
        SenderMode::AsIs => vec![allowed, "One from anybody else is refused.".into()],
        SenderMode::Account => vec![
            allowed,
            format!("In the place of anybody else stands {own}; answers go to whom it was from (Reply-To)."),
        ],
        SenderMode::Map => {
            let rules = policy.map.iter().map(|rule| format!("In the place of {} stands {}.", rule.from, rule.to));
            let mut lines = vec![allowed];
            lines.extend(rules);
            lines.push("Answers go to whom it was from (Reply-To). One from anybody else is refused.".into());
            lines
        }
    };
    lines.push(
        "Both are looked at: the sender of the envelope (MAIL FROM), and From: and Sender: of the message.".into(),
    );
    lines
}
