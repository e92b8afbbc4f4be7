//! `oxpost account sender`: the sender policy of an account.

use oxpost_token_store::{Mailbox, SenderMode, SenderPolicy, Store};

use super::known;
use crate::cli::Failed;

/// What becomes of senders.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SenderOptions {
    /// The mail address of the account
    mailbox: Mailbox,
    /// The sender policy: as-is, account or map; without it, the command shows the present policy
    mode: Option<SenderMode>,
    /// A further sender it may use, or all of a domain (`*@contoso.com`); may be repeated
    #[arg(long, value_name = "SENDER", requires = "mode")]
    allow: Vec<String>,
    /// A rewrite rule for map; the first match applies; may be repeated
    #[arg(long, value_name = "FROM=TO", requires = "mode")]
    rule: Vec<String>,
}

impl SenderOptions {
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Whether it only shows the policy.
    pub(super) fn only_shows(&self) -> bool {
        self.mode.is_none()
    }
}

pub(super) async fn sender(options: SenderOptions, store: &Store) -> Result<(), Failed> {
    let SenderOptions { mailbox, mode, allow, rule } = options;
    let mut account = known(store, &mailbox).await?;
    if let Some(mode) = mode {
        let mut rules = Vec::new();
        for text in &rule {
            let (from, to) = text.split_once('=').ok_or_else(|| {
                Failed::new(format!("`{text}` is not a rule; write it like --rule '*@old.local={mailbox}'."))
            })?;
            rules.push((from, to));
        }
        let policy = SenderPolicy::parse(mode, allow.iter().map(String::as_str), rules)
            .map_err(|error| Failed::new(format!("{error}.")))?;
        store.set_senders(&mailbox, &policy).await?;
        account.senders = policy;
        println!("For all messages from now on:");
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
    let allowed = format!("Allowed senders: {}.", allowed.join(", "));
    let mut lines = match policy.mode {
        SenderMode::AsIs if policy.allowed.is_empty() && !held => {
            return vec![
                "The mail server decides which senders are allowed.".into(),
                "If it answers SendAsDenied, grant the account Send As there, or replace senders: oxpost account sender --help"
                    .into(),
            ];
        }
        SenderMode::AsIs => vec![allowed, "Messages with another sender are refused.".into()],
        SenderMode::Account => {
            vec![allowed, format!("Other senders are replaced with {own}; Reply-To keeps the original sender.")]
        }
        SenderMode::Map => {
            let rules = policy.map.iter().map(|rule| format!("{} is replaced with {}.", rule.from, rule.to));
            let mut lines = vec![allowed];
            lines.extend(rules);
            lines.push("Reply-To keeps the original sender. Messages with another sender are refused.".into());
            lines
        }
    };
    lines
        .push("This applies to the sender of the envelope (MAIL FROM) and to From: and Sender: of the message.".into());
    lines
}
