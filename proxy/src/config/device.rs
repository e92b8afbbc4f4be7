//! `[[listener.device]]`: which clients may send without a login, as which sender and to which recipients, for scanners without AUTH.

use ipnet::IpNet;
use oxpost_protocol::smtp::sender_policy::Pattern;
use oxpost_token_store::{Mailbox, SenderMode, SenderPolicy};
use serde::Deserialize;

use super::file::Protocol;
use super::{password_checks, senders};

/// The messages a minute of a device that says nothing of it.
const MESSAGES_PER_MINUTE: usize = 10;

/// The most that a device may be let send: what Exchange takes of one mailbox.
const MOST_MESSAGES: usize = 1000;

/// The widest networks taken, by their prefixes in IPv4 and IPv6. An office, however large, has no more addresses than
/// `10.0.0.0/8`; of those that the whole world can have, it has been given a few.
const WIDEST: Widest = Widest { own: (8, 32), public: (24, 48) };

struct Widest {
    own: (u8, u8),
    public: (u8, u8),
}

impl Widest {
    fn of(&self, network: &IpNet) -> u8 {
        match network {
            IpNet::V4(v4) => {
                let own = v4.addr().is_private() || v4.addr().is_loopback() || v4.addr().is_link_local();
                if own { self.own.0 } else { self.public.0 }
            }
            IpNet::V6(v6) => {
                let own = v6.addr().is_unique_local() || v6.addr().is_unicast_link_local() || v6.addr().is_loopback();
                if own { self.own.1 } else { self.public.1 }
            }
        }
    }
}

/// `[[listener.device]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Section {
    /// A network or an address, or several.
    pub from: OneOrMore,
    /// The account that sends.
    pub account: String,
    /// What becomes of a sender that is not allowed.
    pub sender: Option<SenderMode>,
    /// The senders that are allowed besides the account's own address.
    #[serde(default)]
    pub senders: Vec<String>,
    /// With `sender = "map"`: the rewrite rules.
    #[serde(default)]
    pub map: Vec<senders::Rule>,
    /// Domains and addresses that mail may go to; by default the account's own domain, and with `*` everybody.
    pub recipients: Option<OneOrMore>,
    /// Messages within any minute.
    pub messages_per_minute: Option<usize>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "write a string or a list of strings: \"10.1.2.0/24\"")]
pub(crate) enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl OneOrMore {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
    }
}

/// Clients that may send without a login.
#[derive(Debug, Clone)]
pub struct Device {
    /// Where they are.
    pub networks: Vec<IpNet>,
    /// The account that sends.
    pub account: Mailbox,
    /// Who its messages may be from.
    pub senders: SenderPolicy,
    /// Who they may go to; `None`: everybody.
    pub recipients: Option<Vec<Pattern>>,
    /// How many there may be within any minute.
    pub messages_per_minute: usize,
}

/// A section by its number, the key in it, and what is wrong.
pub(super) type Wrong = (usize, &'static str, String);

/// All sections of one listener.
pub(super) fn check(sections: &[Section], protocol: Protocol, served: &[IpNet]) -> (Vec<Device>, Vec<Wrong>) {
    let mut problems = Vec::new();
    let mut devices: Vec<Device> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let mut wrong = |key, sentence: String| problems.push((index, key, sentence));
        if protocol != Protocol::Smtp {
            wrong("from", format!("devices send by SMTP, but this is a listener for {protocol}."));
        }
        let networks = networks(section, served, &devices, &mut wrong);
        let account = match Mailbox::parse(&section.account) {
            Ok(mailbox) if mailbox.is_pattern() => {
                wrong("account", "a device must have one mailbox, not all of a domain.".into());
                continue;
            }
            Ok(mailbox) => mailbox,
            Err(error) => {
                wrong("account", format!("{error}."));
                continue;
            }
        };
        if section.sender == Some(SenderMode::AsIs) {
            // Of an account that leaves it to the mail server; here there is no password that stands for anything.
            wrong("sender", "`sender` of a device is account or map; without it, other senders are refused.".into());
        }
        let senders = senders::policy(section.sender, &section.senders, &section.map);
        let senders = senders.map_err(|(key, sentence)| wrong(key, sentence)).ok();
        let recipients = recipients(section.recipients.as_ref().map(OneOrMore::texts), &account);
        let recipients = recipients.map_err(|sentence| wrong("recipients", sentence)).ok();
        let messages_per_minute = section.messages_per_minute.unwrap_or(MESSAGES_PER_MINUTE);
        if !(1..=MOST_MESSAGES).contains(&messages_per_minute) {
            wrong("messages-per-minute", format!("a device may send 1 to {MOST_MESSAGES} messages a minute."));
        }
        if let (Some(senders), Some(recipients)) = (senders, recipients) {
            devices.push(Device { networks, account, senders, recipients, messages_per_minute });
        }
    }
    (devices, problems)
}

fn networks(
    section: &Section,
    served: &[IpNet],
    devices: &[Device],
    wrong: &mut impl FnMut(&'static str, String),
) -> Vec<IpNet> {
    let mut networks = Vec::new();
    if section.from.texts().is_empty() {
        wrong("from", "name the network or the addresses of the device.".into());
    }
    for text in section.from.texts() {
        let Some(network) = password_checks::network(text) else {
            wrong("from", format!("`{text}` is not a network; write it like \"10.1.2.0/24\"."));
            continue;
        };
        if network != network.trunc() {
            // As a scanner's own settings have it: its address, and how large its network is. Only one of them is meant.
            let (address, whole) = (network.addr(), network.trunc());
            wrong(
                "from",
                format!(
                    "{network} is ambiguous; write \"{address}\" for the address alone or \"{whole}\" for the network."
                ),
            );
        } else if matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some()) {
            wrong("from", format!("{network} is an IPv4 network; write it like \"10.1.2.0/24\"."));
        } else if network.prefix_len() < WIDEST.of(&network) {
            wrong(
                "from",
                format!(
                    "{network} is too wide: every client in it could send without a password. Name the devices' own network."
                ),
            );
        } else if !served.is_empty() && !served.iter().any(|outer| outer.contains(&network)) {
            wrong("from", format!("{network} is not within the networks that this listener serves."));
        } else if devices.iter().any(|device| device.networks.contains(&network)) || networks.contains(&network) {
            wrong("from", format!("{network} already belongs to another device."));
        } else {
            networks.push(network);
        }
    }
    networks
}

fn recipients(texts: Option<&[String]>, account: &Mailbox) -> Result<Option<Vec<Pattern>>, String> {
    let own = [account.domain().to_owned()];
    let texts = texts.unwrap_or(&own);
    if texts.iter().any(|text| text == "*") {
        return Ok(None);
    }
    if texts.is_empty() {
        return Err("the list is empty; name domains, such as \"contoso.com\", or \"*\" for any recipient.".into());
    }
    let pattern = |text: &String| {
        let whole = if text.contains('@') { text.clone() } else { format!("*@{text}") };
        whole.parse().map_err(|_| format!("`{text}` is neither a domain nor an address; write \"contoso.com\"."))
    };
    texts.iter().map(pattern).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::parse_alone;

    fn checked(device: &str) -> (Vec<Device>, Vec<Wrong>) {
        let text = format!("[[listener]]\nprotocol = \"smtp\"\naddress = \"10.0.0.1:25\"\n{device}");
        let file = parse_alone(std::path::Path::new("proxy.toml"), &text).unwrap();
        let served = ["10.0.0.0/8".parse().unwrap(), "fd00:1::/32".parse().unwrap()];
        let listener = &file.listener[0];
        check(&listener.device, listener.protocol, &served)
    }

    #[test]
    fn a_device_sends_as_itself_to_its_own_domain() {
        let (devices, problems) =
            checked("[[listener.device]]\nfrom = \"10.1.2.0/24\"\naccount = \"scan@contoso.com\"");
        assert_eq!(problems, []);
        let [device] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!(device.senders, SenderPolicy::default());
        assert_eq!(device.messages_per_minute, MESSAGES_PER_MINUTE);
        assert_eq!(device.recipients.as_deref(), Some(&["*@contoso.com".parse().unwrap()][..]));
        let (devices, problems) = checked(
            "[[listener.device]]\nfrom = [\"10.1.2.3\", \"fd00:1:2::/48\"]\naccount = \"scan@contoso.com\"\nsender = \"account\"\n\
             senders = [\"info@contoso.com\"]\nrecipients = [\"*\"]\nmessages-per-minute = 30",
        );
        assert_eq!(problems, []);
        assert_eq!(devices[0].recipients, None);
        assert_eq!(devices[0].networks.len(), 2);
    }

    #[test]
    fn section_that_would_let_unknown_clients_send_is_refused() {
        for (lines, key, words) in [
            ("from = \"0.0.0.0/0\"\naccount = \"scan@contoso.com\"", "from", "too wide"),
            ("from = \"10.0.0.0/7\"\naccount = \"scan@contoso.com\"", "from", "too wide"),
            ("from = \"10.1.2.3\"\naccount = \"scan@contoso.com\"\nsender = \"as-is\"", "sender", "account or map"),
            ("from = \"8.8.0.0/16\"\naccount = \"scan@contoso.com\"", "from", "too wide"),
            ("from = \"10.1.2.3/24\"\naccount = \"scan@contoso.com\"", "from", "\"10.1.2.3\" for the address alone"),
            ("from = \"::ffff:10.1.2.0/120\"\naccount = \"scan@contoso.com\"", "from", "an IPv4 network"),
            ("from = \"fd00::/16\"\naccount = \"scan@contoso.com\"", "from", "too wide"),
            ("from = \"192.168.1.0/24\"\naccount = \"scan@contoso.com\"", "from", "not within"),
            ("from = \"printers\"\naccount = \"scan@contoso.com\"", "from", "not a network"),
            ("from = []\naccount = \"scan@contoso.com\"", "from", "name the network"),
            ("from = [\"10.1.2.3\", \"10.1.2.3\"]\naccount = \"scan@contoso.com\"", "from", "another device"),
            ("from = \"10.1.2.3\"\naccount = \"*@contoso.com\"", "account", "one mailbox"),
            ("from = \"10.1.2.3\"\naccount = \"scan\"", "account", "not a mail address"),
            ("from = \"10.1.2.3\"\naccount = \"scan@contoso.com\"\nsender = \"map\"", "sender", "needs rules"),
            ("from = \"10.1.2.3\"\naccount = \"scan@contoso.com\"\nrecipients = []", "recipients", "the list is empty"),
            ("from = \"10.1.2.3\"\naccount = \"scan@contoso.com\"\nrecipients = [\"*.com\"]", "recipients", "neither"),
            (
                "from = \"10.1.2.3\"\naccount = \"scan@contoso.com\"\nmessages-per-minute = 0",
                "messages-per-minute",
                "1 to",
            ),
        ] {
            let (_, problems) = checked(&format!("[[listener.device]]\n{lines}"));
            let [(0, found, sentence)] = problems.as_slice() else { panic!("{lines}: {problems:?}") };
            assert!(*found == key && sentence.contains(words), "{lines}: {found}: {sentence}");
        }
    }
}
