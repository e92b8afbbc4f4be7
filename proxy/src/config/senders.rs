//! `sender`, `senders` and `map`: who an account or a device may send as.

use oxpost_token_store::{BadSenderPolicy, SenderMode, SenderPolicy};
use serde::Deserialize;

/// One rule of a `map`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rule {
    /// Whose place is taken: an address, or `*@old.local`.
    pub from: String,
    /// The address that replaces it.
    pub to: String,
}

/// What three keys say together; or the key that is wrong.
pub(super) fn policy(
    mode: Option<SenderMode>,
    allowed: &[String],
    map: &[Rule],
) -> Result<SenderPolicy, (&'static str, String)> {
    let rules = map.iter().map(|rule| (rule.from.as_str(), rule.to.as_str()));
    SenderPolicy::parse(mode.unwrap_or_default(), allowed.iter().map(String::as_str), rules).map_err(
        |error| match error {
            BadSenderPolicy::Pattern(ref text) if allowed.contains(text) => ("senders", format!("{error}.")),
            BadSenderPolicy::Pattern(_) | BadSenderPolicy::Address(_) => ("map", format!("{error}.")),
            BadSenderPolicy::NoRules => (
                "sender",
                "a map needs rules: map = [{ from = \"*@old.local\", to = \"name@contoso.com\" }].".to_owned(),
            ),
            BadSenderPolicy::NotMapped => ("map", "rewrite rules require sender = \"map\"; add it.".to_owned()),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_its_key() {
        let map = |from: &str, to: &str| vec![Rule { from: from.into(), to: to.into() }];
        let good = map("*@old.local", "erp@contoso.com");
        for (mode, allowed, map, key) in [
            (SenderMode::AsIs, vec!["info".to_owned()], vec![], "senders"),
            (SenderMode::Map, vec![], vec![], "sender"),
            (SenderMode::Account, vec![], good.clone(), "map"),
            (SenderMode::Map, vec![], map("old", "erp@contoso.com"), "map"),
            (SenderMode::Map, vec![], map("a@b.c", "erp"), "map"),
        ] {
            assert_eq!(policy(Some(mode), &allowed, &map).unwrap_err().0, key);
        }
        assert!(policy(Some(SenderMode::Map), &["info@contoso.com".into()], &good).is_ok());
        assert_eq!(policy(None, &[], &[]), Ok(SenderPolicy::default()));
    }
}
