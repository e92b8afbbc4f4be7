//! Who an account may send as, as it is written down: in proxy.toml, by command, and in the store.

use std::{fmt, str::FromStr};

use oxpost_protocol::smtp::sender_policy::{InvalidPattern, Pattern, RewriteRule};
use serde::{Deserialize, Serialize};

use crate::mailbox::Mailbox;

/// Who an account may send as. By default that is for the mail server to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderPolicy {
    /// What becomes of a sender that it may not send as.
    pub mode: SenderMode,
    /// The senders it may send as besides its own address.
    pub allowed: Vec<Pattern>,
    /// With [`SenderMode::Map`]: which sender is replaced, and by which address.
    pub map: Vec<RewriteRule>,
}

/// What becomes of a sender that an account may not send as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderMode {
    /// It is forwarded as it is, for the mail server to decide; it is refused where others are named that are allowed.
    #[default]
    AsIs,
    /// The account's own address replaces it.
    Account,
    /// The address of the first rule that fits replaces it; without one it is refused.
    Map,
}

impl SenderMode {
    /// The name used in the configuration, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsIs => "as-is",
            Self::Account => "account",
            Self::Map => "map",
        }
    }
}

impl fmt::Display for SenderMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SenderMode {
    type Err = BadSenderMode;

    fn from_str(text: &str) -> Result<Self, BadSenderMode> {
        [Self::AsIs, Self::Account, Self::Map].into_iter().find(|mode| mode.as_str() == text).ok_or(BadSenderMode)
    }
}

/// The text is not one of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sender that an account may not send as goes on as-is, gets the address of the account, or that of a map's rule: as-is, \
     account or map"
)]
pub struct BadSenderMode;

/// Why a policy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSenderPolicy {
    /// No sender, and no domain.
    #[error("`{0}` is no sender: write an address, name@contoso.com, or all of a domain, *@contoso.com")]
    Pattern(String),
    /// The replacement of a sender is no address.
    #[error("`{0}` cannot replace a sender: write an address, name@contoso.com")]
    Address(String),
    /// A map without rules.
    #[error("`sender = \"map\"` needs at least one rewrite rule")]
    NoRules,
    /// Rules without a map.
    #[error("rewrite rules require `sender = \"map\"`")]
    NotMapped,
}

impl SenderPolicy {
    /// From texts.
    ///
    /// # Errors
    /// One of them makes no sense.
    pub fn parse<'a>(
        mode: SenderMode,
        allowed: impl IntoIterator<Item = &'a str>,
        map: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BadSenderPolicy> {
        let pattern =
            |text: &str| text.parse::<Pattern>().map_err(|InvalidPattern| BadSenderPolicy::Pattern(shown(text)));
        let rule = |(from, to): (&str, &str)| {
            let address = Mailbox::parse(to).ok().filter(|address| !address.is_pattern());
            let address = address.ok_or_else(|| BadSenderPolicy::Address(shown(to)))?;
            Ok(RewriteRule { from: pattern(from)?, to: address.to_string() })
        };
        let policy = Self {
            mode,
            allowed: allowed.into_iter().map(pattern).collect::<Result<_, _>>()?,
            map: map.into_iter().map(rule).collect::<Result<_, _>>()?,
        };
        match (mode, policy.map.is_empty()) {
            (SenderMode::Map, true) => Err(BadSenderPolicy::NoRules),
            (SenderMode::AsIs | SenderMode::Account, false) => Err(BadSenderPolicy::NotMapped),
            _ => Ok(policy),
        }
    }

    /// As the store keeps it; nothing for the one that is there by default.
    pub(crate) fn stored(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        let stored = Stored {
            mode: self.mode,
            allowed: self.allowed.iter().map(ToString::to_string).collect(),
            map: self.map.iter().map(|rule| (rule.from.to_string(), rule.to.clone())).collect(),
        };
        serde_json::to_string(&stored).ok()
    }

    /// What [`SenderPolicy::stored`] has made.
    pub(crate) fn read(stored: Option<&str>) -> Option<Self> {
        let Some(stored) = stored else { return Some(Self::default()) };
        let Stored { mode, allowed, map } = serde_json::from_str(stored).ok()?;
        let map = map.iter().map(|(from, to)| (from.as_str(), to.as_str()));
        Self::parse(mode, allowed.iter().map(String::as_str), map).ok()
    }
}

/// The text of the column.
#[derive(Serialize, Deserialize)]
struct Stored {
    mode: SenderMode,
    allowed: Vec<String>,
    map: Vec<(String, String)>,
}

/// What a person wrote, for a message to them.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_back_as_it_was_stored() {
        let rules = [("*@old.local", "erp@contoso.com")];
        for policy in [
            SenderPolicy::default(),
            SenderPolicy::parse(SenderMode::AsIs, ["Info@contoso.com", "*@shop.com"], []).unwrap(),
            SenderPolicy::parse(SenderMode::Account, [], []).unwrap(),
            SenderPolicy::parse(SenderMode::Map, ["info@contoso.com"], rules).unwrap(),
        ] {
            assert_eq!(SenderPolicy::read(policy.stored().as_deref()), Some(policy));
        }
        assert_eq!(SenderPolicy::read(Some("{}")), None);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let of = |mode, allowed: &[&'static str], map: &[(&'static str, &'static str)]| {
            SenderPolicy::parse(mode, allowed.iter().copied(), map.iter().copied()).unwrap_err().to_string()
        };
        assert!(of(SenderMode::AsIs, &["info"], &[]).contains("`info`"));
        assert!(of(SenderMode::Map, &[], &[("a@b.c", "*@b.c")]).contains("`*@b.c`"));
        assert!(of(SenderMode::Map, &[], &[("b.c", "a@b.c")]).contains("`b.c`"));
        assert_eq!(of(SenderMode::Map, &[], &[]), BadSenderPolicy::NoRules.to_string());
        assert_eq!(of(SenderMode::Account, &[], &[("a@b.c", "d@b.c")]), BadSenderPolicy::NotMapped.to_string());
    }
}
