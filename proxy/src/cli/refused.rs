//! What Exchange refuses to accounts whose tokens are good, for `oxpost status`.

use std::collections::HashMap;

use oxpost_token_store::store::UpstreamRefusal;
use oxpost_token_store::{Account, Mailbox, Store, StoreError};
use serde_json::{Value, json};

/// The state of an account whose only error is this one.
pub(super) const LOGIN_REFUSED: &str = "login refused";

/// By mailbox.
pub(super) struct AllRefused(HashMap<Mailbox, Vec<UpstreamRefusal>>);

impl AllRefused {
    pub(super) async fn of<'a>(store: &Store, accounts: impl Iterator<Item = &'a Account>) -> Result<Self, StoreError> {
        let mut all = HashMap::new();
        for account in accounts {
            all.insert(account.mailbox.clone(), store.upstream_refusals(&account.mailbox).await?);
        }
        Ok(Self(all))
    }

    pub(super) fn to(&self, account: &Account) -> &[UpstreamRefusal] {
        self.0.get(&account.mailbox).map_or(&[], Vec::as_slice)
    }

    /// The state in two words, where the tokens are in this one.
    pub(super) fn state(&self, account: &Account, of_the_tokens: &'static str) -> &'static str {
        // An error of the tokens must be fixed first.
        let good = ["ok", "ok, retrying", "idle", "renew soon", "renew now"].contains(&of_the_tokens);
        if good && !self.to(account).is_empty() { LOGIN_REFUSED } else { of_the_tokens }
    }

    /// A line for each protocol; `distance` says how long ago.
    pub(super) fn lines(&self, account: &Account, distance: impl Fn(&UpstreamRefusal) -> String) -> Vec<String> {
        let line = |refused: &UpstreamRefusal| {
            let UpstreamRefusal { protocol, text, said: server_reply, .. } = refused;
            let server_reply = if server_reply.is_empty() { String::new() } else { format!(" [{server_reply}]") };
            format!("{} by {protocol} ({}): {text}{server_reply}", account.mailbox, distance(refused))
        };
        self.to(account).iter().map(line).collect()
    }

    pub(super) fn json(&self, account: &Account, time: impl Fn(&UpstreamRefusal) -> Option<String>) -> Value {
        let object = |refused: &UpstreamRefusal| {
            json!({
                "protocol": refused.protocol,
                "text": refused.text,
                "server_reply": refused.said,
                "at": time(refused),
            })
        };
        self.to(account).iter().map(object).collect()
    }
}
