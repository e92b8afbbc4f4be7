//! The source of a client, as the login throttle counts it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// An address, or a /64 network of IPv6: one customer has all of its 2^64 addresses (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// This machine. All local software shares its addresses.
    Loopback,
    /// An address of IPv4, or one of IPv6 on the same link, where everything shares one /64.
    Address(IpAddr),
    /// A /64 network, by its first address.
    Network(Ipv6Addr),
}

impl Source {
    /// Where this address belongs.
    pub fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            peer if peer.is_loopback() => Self::Loopback,
            IpAddr::V6(peer) if !peer.is_unicast_link_local() => Self::Network(network(peer)),
            peer => Self::Address(peer),
        }
    }

    /// As it is stored. [`Source::from_stored`] reads it.
    pub(crate) fn as_stored(&self) -> String {
        match self {
            Self::Loopback => "loopback".to_owned(),
            Self::Address(address) => address.to_string(),
            Self::Network(network) => network.to_string(),
        }
    }

    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        if text == "loopback" { Some(Self::Loopback) } else { text.parse().ok().map(Self::of) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("this machine"),
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => write!(f, "{network}/64"),
        }
    }
}

fn network(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str) -> Source {
        Source::of(peer.parse().unwrap())
    }

    #[test]
    fn ipv6_address_counts_as_its_network() {
        assert_eq!(source("192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6").to_string(), "2001:db8:1:2::/64");
        assert_eq!(source("2001:db8::1"), source("2001:db8::2"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("fe80::1").to_string(), "fe80::1", "everything on the link has this /64");
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(source(own), Source::Loopback);
        }
    }

    #[test]
    fn stored_form_reads_back() {
        for peer in ["192.0.2.7", "2001:db8:1:2:3:4:5:6", "fe80::1", "::1"] {
            assert_eq!(Source::from_stored(&source(peer).as_stored()), Some(source(peer)), "{peer}");
        }
        assert_eq!(Source::from_stored("somewhere"), None);
    }
}
