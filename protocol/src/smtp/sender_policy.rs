//! Which senders a login may use, and what happens to a message with another sender. Exchange rejects such a message with
//! SendAsDenied only after the whole message was sent, when it is too late for the client to change it.

use std::fmt;
use std::str::FromStr;

/// So much of an address that is refused is repeated, in characters.
const SHOWN: usize = 100;

/// The senders of one login. Addresses compare without regard to the case of their letters, as Exchange compares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSenders {
    own: String,
    allowed: Vec<Pattern>,
    fallback: Fallback,
    who: &'static str,
    remedy: String,
}

/// What happens to a message whose sender the login may not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// `as-is`: the message is rejected.
    Reject,
    /// `account`: the sender is replaced by the login's own address.
    Account,
    /// `map`: the sender is replaced as the first matching rule says; without one the message is rejected.
    Map(Vec<RewriteRule>),
}

/// Replaces one sender, or those of one domain, by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteRule {
    /// Senders that are no addresses at Microsoft 365.
    pub from: Pattern,
    /// The address that replaces them.
    pub to: String,
}

/// What a sender is to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// One of its own.
    Allowed,
    /// This sender replaces it.
    Replaced(&'a str),
    /// The login may not send as this address.
    Refused,
}

impl AllowedSenders {
    /// A login that always may send as its own address, and as these besides.
    pub fn new(own: impl Into<String>, allowed: Vec<Pattern>, fallback: Fallback) -> Self {
        Self { own: own.into(), allowed, fallback, who: "This login", remedy: String::new() }
    }

    /// How an administrator can allow the sender; it ends the sentence that refuses the sender.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Who sends, at the beginning of that sentence, if that is not a login.
    #[must_use]
    pub fn with_subject(self, who: &'static str) -> Self {
        Self { who, ..self }
    }

    pub(super) fn verdict(&self, address: &str) -> Verdict<'_> {
        if address.eq_ignore_ascii_case(&self.own) || self.allowed.iter().any(|pattern| pattern.fits(address)) {
            return Verdict::Allowed;
        }
        match &self.fallback {
            Fallback::Reject => Verdict::Refused,
            Fallback::Account => Verdict::Replaced(&self.own),
            Fallback::Map(rules) => {
                let rule = rules.iter().find(|rule| rule.from.fits(address));
                rule.map_or(Verdict::Refused, |rule| Verdict::Replaced(&rule.to))
            }
        }
    }

    /// The address that replaces senders that cannot be parsed.
    pub(super) fn instead_of_unreadable(&self) -> Option<&str> {
        matches!(self.fallback, Fallback::Account).then_some(&*self.own)
    }

    /// Whether anything is ever replaced.
    pub(super) fn replaces(&self) -> bool {
        !matches!(self.fallback, Fallback::Reject)
    }

    /// The answer to a sender that is refused.
    pub(super) fn answer(&self, address: &str) -> String {
        let Self { own, who, remedy, .. } = self;
        // A long one must not push the remedy out of the reply.
        let address: String = address.chars().take(SHOWN).collect();
        let remedy = if remedy.is_empty() { String::new() } else { format!(". {remedy}") };
        format!("550 5.7.60 {who} sends as {own}, and not as {address}{remedy}")
    }
}

/// An address, or all of a domain (`*@contoso.com`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// The text is neither an address nor all of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPattern;

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sender is an address, name@contoso.com, or all of a domain, *@contoso.com")
    }
}

impl std::error::Error for InvalidPattern {}

impl Pattern {
    /// As people write it in a list of recipients: the domain, or the address.
    pub fn name(&self) -> &str {
        self.0.strip_prefix("*@").unwrap_or(&self.0)
    }

    /// Whether this address is meant.
    pub fn fits(&self, address: &str) -> bool {
        match self.0.strip_prefix("*@") {
            Some(domain) => {
                is_single(address) && domain_of(address).is_some_and(|found| found.eq_ignore_ascii_case(domain))
            }
            None => address.eq_ignore_ascii_case(&self.0),
        }
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let text = text.trim().to_lowercase();
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"(),;:\\[]".contains(c);
        match text.rsplit_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && !domain.is_empty()
                    && text.chars().all(plain)
                    && !local.contains('@')
                    && (local == "*" || !local.contains('*'))
                    && !domain.contains('*') =>
            {
                Ok(Self(text))
            }
            _ => Err(InvalidPattern),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether every reader finds the same one address in it: no second `@`, no blank of any alphabet, nothing that is unpacked to
/// another text (RFC 2047).
pub(super) fn is_plain(address: &str) -> bool {
    let plain = |c: char| {
        !c.is_whitespace() && !c.is_control() && c != char::REPLACEMENT_CHARACTER && !"<>\"(),;:\\[]".contains(c)
    };
    let whole = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    address.split_once('@').is_some_and(|(local, domain)| {
        whole(local) && whole(domain) && !domain.contains('@') && address.chars().all(plain) && !address.contains("=?")
    })
}

/// Whether it is an address of its domain and of no other behind it: the local part routes nothing on (`%`, `!`), and does not
/// carry an address of another system (`IMCEA`, MS-OXCMAIL 2.1.3.1.8).
fn is_single(address: &str) -> bool {
    let carries = address.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("IMCEA"));
    is_plain(address) && !carries && !address.contains(['%', '!'])
}

/// The part after the last `@`.
pub(super) fn domain_of(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn sender_not_allowed_is_refused_or_replaced() {
        let rules = vec![RewriteRule { from: "*@old.local".parse().unwrap(), to: "erp@contoso.com".into() }];
        let fallback = [Fallback::Reject, Fallback::Account, Fallback::Map(rules)];
        let [refuse, own, map] = fallback
            .map(|other| AllowedSenders::new("scan@contoso.com", patterns(&["Info@contoso.com", "*@shop.com"]), other));
        for address in ["scan@contoso.com", "SCAN@Contoso.com", "info@contoso.com", "any@SHOP.com"] {
            for senders in [&refuse, &own, &map] {
                assert_eq!(senders.verdict(address), Verdict::Allowed, "{address}");
            }
        }
        for (address, mapped) in [
            ("lift@OLD.local", Verdict::Replaced("erp@contoso.com")),
            ("ceo@contoso.com", Verdict::Refused),
            ("a@b.shop.com", Verdict::Refused),
            ("a@shop.com@x.com", Verdict::Refused),
            ("ceo@x.com@shop.com", Verdict::Refused),
            ("\"ceo@x.com\"@shop.com", Verdict::Refused),
            ("ceo%x.com@shop.com", Verdict::Refused),
            ("x.com!ceo@shop.com", Verdict::Refused),
            ("ceo@x.com\u{a0}x@shop.com", Verdict::Refused),
            ("imceasmtp-ceo+40x+2Ecom@shop.com", Verdict::Refused),
            ("=?utf-8?b?Y2Vv?=@shop.com", Verdict::Refused),
            ("scan", Verdict::Refused),
        ] {
            assert_eq!(refuse.verdict(address), Verdict::Refused, "{address}");
            assert_eq!(own.verdict(address), Verdict::Replaced("scan@contoso.com"), "{address}");
            assert_eq!(map.verdict(address), mapped, "{address}");
        }
    }

    #[test]
    fn a_pattern_is_an_address_or_a_domain() {
        for bad in ["", "*", "a", "@b", "a@", "*@*", "a*@b", "*a@b", "a@b@c", "a b@c", "<a@b>", "a@b, c@d", "*@*.b"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
