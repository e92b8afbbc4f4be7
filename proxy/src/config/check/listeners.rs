//! `[[listener]]`: addresses, certificates, and what may cross a network unencrypted.

use std::net::SocketAddr;

use super::Checker;
use crate::config::file::{self, ListenerTls};
use crate::config::{Listener, ListenerLines, device, password_checks};

impl Checker<'_> {
    pub(super) fn listener(&mut self, index: usize, listener: &file::Listener) -> Option<Listener> {
        let before = self.problems.len();
        let folder = self.folder;
        let mut wrong = |key: &str, sentence: String| self.report("listener", Some(index), Some(key), sentence);
        let address: Option<SocketAddr> = listener.address.parse().ok();
        if address.is_none() {
            wrong(
                "address",
                format!("`{}` is not an address with a port; write it like \"127.0.0.1:1143\".", listener.address),
            );
        }
        if let Some(SocketAddr::V6(mapped)) = address
            && let Some(ip) = mapped.ip().to_ipv4_mapped()
        {
            wrong("address", format!("{mapped} is an IPv4 address in IPv6 form; write \"{ip}:{}\".", mapped.port()));
        }
        let mut networks = Vec::new();
        for network in &listener.networks {
            match password_checks::network(network) {
                Some(network) => networks.push(network),
                None => wrong("networks", format!("`{network}` is not a network; write it like \"192.168.1.0/24\".")),
            }
        }
        let certificate = match (listener.tls, &listener.certificate, &listener.private_key) {
            (ListenerTls::None, None, None) => None,
            (ListenerTls::None, _, _) => {
                wrong(
                    "certificate",
                    "there is a certificate but tls is \"none\"; set tls = \"start-tls\" or \"implicit\".".into(),
                );
                None
            }
            (_, Some(certificate), Some(key)) => Some((folder.join(&certificate.0), folder.join(&key.0))),
            (_, _, _) => {
                wrong("tls", "TLS needs both `certificate` and `private-key` (PEM files).".into());
                None
            }
        };
        if let Some(address) = address
            && !address.ip().is_loopback()
        {
            if listener.tls == ListenerTls::None && !listener.allow_plaintext {
                wrong(
                    "address",
                    format!(
                        "{address} can be reached from other machines, and without TLS their passwords would cross the network \
                         unencrypted. Set tls = \"start-tls\" or \"implicit\" with a certificate, or, if this is intended, \
                         allow-plaintext = true."
                    ),
                );
            }
            if networks.is_empty() {
                wrong(
                    "address",
                    format!(
                        "{address} can be reached from other machines; list the networks it serves, for example \
                         networks = [\"192.168.1.0/24\"]."
                    ),
                );
            }
        }
        let (devices, wrong) = device::check(&listener.device, listener.protocol, &networks);
        for (number, key, sentence) in wrong {
            self.problems.push((self.positions.device(index, number, key), sentence));
        }
        let mut wrong = |key: &str, sentence: String| self.report("listener", Some(index), Some(key), sentence);
        let reachable = address.is_some_and(|address| !address.ip().is_loopback());
        match (listener.tls_before_login, listener.tls) {
            (Some(true), ListenerTls::None) => wrong(
                "tls-before-login",
                "this listener has no TLS; set tls = \"start-tls\" or \"implicit\" with a certificate.".into(),
            ),
            (Some(false), ListenerTls::StartTls) if reachable && !listener.allow_plaintext => wrong(
                "tls-before-login",
                "with tls-before-login = false passwords may cross the network unencrypted; if this is intended, set \
                 allow-plaintext = true as well."
                    .into(),
            ),
            _ => {}
        }
        let address = address.filter(|_| self.problems.len() == before)?;
        let line = |key: &str| self.positions.section("listener", Some(index), Some(key));
        let lines = ListenerLines {
            address: line("address"),
            certificate: line("certificate"),
            private_key: line("private-key"),
        };
        Some(Listener {
            protocol: listener.protocol,
            address,
            tls: listener.tls,
            certificate,
            tls_before_login: listener.tls == ListenerTls::StartTls
                && listener.tls_before_login.unwrap_or(reachable && !listener.allow_plaintext),
            networks,
            devices,
            lines,
        })
    }

    /// No two listeners may have the same address, or one that the other includes: `0.0.0.0` is every IPv4 address, and `[::]` every IPv6
    /// address and no IPv4 address (see [`crate::net::socket::listen`]).
    pub(super) fn no_address_twice(&mut self, listeners: &[Listener], sections: &[file::Listener]) {
        let with_sections: Vec<(usize, &Listener)> = sections
            .iter()
            .enumerate()
            .filter_map(|(index, section)| {
                let address: SocketAddr = section.address.parse().ok()?;
                Some((index, listeners.iter().find(|listener| listener.address == address)?))
            })
            .collect();
        for (number, (index, listener)) in with_sections.iter().enumerate() {
            let before = with_sections.iter().take(number);
            let Some((_, other)) = before.clone().find(|(_, other)| overlap(other.address, listener.address)) else {
                continue;
            };
            let line = other.lines.address.map(|line| format!(" (line {line})")).unwrap_or_default();
            let sentence = if other.address == listener.address {
                format!("another listener already uses {}{line}; give each its own port.", listener.address)
            } else {
                format!(
                    "another listener uses {}{line}, which includes or is included in {}; give each its own port, or keep one of the two.",
                    other.address, listener.address
                )
            };
            self.report("listener", Some(*index), Some("address"), sentence);
        }
    }
}

/// Whether a connection could be for either of two addresses. Port 0 is another port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
