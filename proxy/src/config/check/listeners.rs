//! `[[listener]]`: addresses, certificates, and what may cross a network unencrypted.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::Checker;
use crate::config::file::{self, ListenerTls};
use crate::config::{Listener, device, password_checks};

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
        Some(Listener {
            protocol: listener.protocol,
            address,
            tls: listener.tls,
            certificate,
            tls_before_login: listener.tls == ListenerTls::StartTls
                && listener.tls_before_login.unwrap_or(reachable && !listener.allow_plaintext),
            networks,
            devices,
        })
    }

    pub(super) fn no_address_twice(&mut self, listeners: &[Listener]) {
        let mut seen = HashSet::new();
        for (index, listener) in listeners.iter().enumerate() {
            if listener.address.port() != 0 && !seen.insert(listener.address) {
                let sentence = format!("another listener already uses {}; give each its own port.", listener.address);
                self.report("listener", Some(index), Some("address"), sentence);
            }
        }
    }
}
