//! Where a client comes from, as far as it counts when shares are given out and guesses are counted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// A share of the places: whoever has one address of IPv6 has 2^64 of them (RFC 6177), so that a /64 network counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// This machine. All local software shares its addresses.
    Loopback,
    /// An address of IPv4, or one of IPv6 on the same link, where the /64 is everybody's.
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

/// What wrong passwords are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// The address they came from, or its /64 network.
    From(Source),
    /// The login name they were tried for, as a hash of it.
    For(u64),
}

/// Where the guesses of an address are counted besides the login name: for itself, and for its network as well. Nowhere for
/// this machine and for those never to be banned: they are one address for many programs.
pub fn counted(peer: IpAddr, never_ban: &[IpNet]) -> impl Iterator<Item = Source> {
    let peer = peer.to_canonical();
    let exempt = peer.is_loopback() || never_ban.iter().any(|network| network.contains(&peer));
    let share = Source::of(peer);
    let network = matches!(share, Source::Network(_)).then_some(share);
    std::iter::once(Source::Address(peer)).chain(network).filter(move |_| !exempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str) -> String {
        Source::of(peer.parse().unwrap()).to_string()
    }

    #[test]
    fn an_address_of_ipv6_counts_as_its_network() {
        assert_eq!(source("192.0.2.7"), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(Source::of("2001:db8::1".parse().unwrap()), Source::of("2001:db8::2".parse().unwrap()));
        assert_eq!(source("fe80::1"), "fe80::1", "everybody on the link has this /64");
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Source::of(own.parse().unwrap()), Source::Loopback);
        }
    }

    #[test]
    fn guesses_count_for_the_address_and_its_network_but_never_for_this_machine() {
        let never = ["10.0.0.5/32".parse().unwrap()];
        let of = |peer: &str| -> Vec<String> {
            counted(peer.parse().unwrap(), &never).map(|source| source.to_string()).collect()
        };
        assert_eq!(of("192.0.2.7"), ["192.0.2.7"]);
        assert_eq!(of("2001:db8::7"), ["2001:db8::7", "2001:db8::/64"]);
        assert_eq!(of("fe80::7"), ["fe80::7"]);
        for none in ["127.0.0.1", "::1", "10.0.0.5", "::ffff:10.0.0.5"] {
            assert!(of(none).is_empty(), "{none}");
        }
    }
}
