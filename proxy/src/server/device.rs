//! Clients that may send without a login because of their network: scanners and software without AUTH.
//!
//! Their session is one of an account, with limits that a password does not have: senders and recipients are restricted, and
//! messages are counted. The most specific configured network applies.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use oxpost_protocol::smtp::Submission;
use oxpost_token_store::{Mailbox, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{self, Config};
use crate::limits::send_limiter::Rate;
use crate::server::sender_policy;

/// Concurrent sessions of the clients of one `[[listener.device]]`, including those that wait for a send slot. More than the three that
/// Exchange accepts, and few enough to leave the listeners to other clients.
const MAX_SESSIONS: usize = 10;

/// The devices of one listener.
#[derive(Debug, Default)]
pub struct Devices(Vec<Arc<Device>>);

/// Clients of one kind, and how much they have sent.
#[derive(Debug)]
pub struct Device {
    /// As it is configured.
    pub config: config::Device,
    /// The messages of its minute.
    pub rate: Arc<Rate>,
    sessions: Arc<Semaphore>,
}

/// Permission of a device for one session; released when it is dropped.
#[derive(Debug)]
pub struct DevicePermit {
    /// The device.
    pub device: Arc<Device>,
    _permit: OwnedSemaphorePermit,
}

impl Devices {
    /// Those that are configured.
    pub fn new(devices: &[config::Device]) -> Self {
        let device = |config: &config::Device| {
            let rate = Arc::new(Rate::of(config.messages_per_minute));
            Arc::new(Device { rate, config: config.clone(), sessions: Arc::new(Semaphore::new(MAX_SESSIONS)) })
        };
        Self(devices.iter().map(device).collect())
    }

    /// Whether there are devices, and none has this address.
    pub fn excludes(&self, peer: IpAddr) -> bool {
        !self.0.is_empty() && self.at(peer).is_none()
    }

    /// The device with this address; the most specific network applies.
    pub fn at(&self, peer: IpAddr) -> Option<&Arc<Device>> {
        // An IPv4 client on a dual-stack socket arrives as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        let networks =
            self.0.iter().flat_map(|device| device.config.networks.iter().map(move |network| (network, device)));
        let around = networks.filter(|(network, _)| network.contains(&peer));
        around.max_by_key(|(network, _)| network.prefix_len()).map(|(_, device)| device)
    }
}

impl Device {
    /// A permit for one more session; `None`: all [`MAX_SESSIONS`] are in use.
    pub fn permit(self: &Arc<Self>) -> Option<DevicePermit> {
        let permit = Arc::clone(&self.sessions).try_acquire_owned().ok()?;
        Some(DevicePermit { device: Arc::clone(self), _permit: permit })
    }

    /// The networks of the device, for people.
    pub fn networks(&self) -> String {
        let networks: Vec<String> = self.config.networks.iter().map(ToString::to_string).collect();
        networks.join(" ")
    }

    /// Restricts a session to the senders and recipients of the device.
    pub fn restrict(&self, machine: Submission) -> Submission {
        let config::Device { account, senders, recipients, .. } = &self.config;
        let senders = sender_policy::of_policy(account.as_str(), senders)
            .with_subject("This device")
            .with_remedy("To replace or to allow it: `sender` or `senders` of this [[listener.device]] in proxy.toml");
        machine.with_senders(Some(senders)).with_recipients(recipients.clone())
    }
}

/// The accounts that devices send as and that do not exist; all of them where there is no store yet.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn without_account(config: &Config, store: Option<&Store>) -> Result<Vec<Mailbox>, StoreError> {
    let devices = config.listeners.iter().flat_map(|listener| &listener.devices);
    let wanted: BTreeSet<&Mailbox> = devices.map(|device| &device.account).collect();
    let mut missing = Vec::new();
    for mailbox in wanted {
        let opened = match store {
            // An account that was changed outside Oxpost is reported elsewhere, and does not keep others from working.
            Some(store) => match store.opened_by(mailbox).await {
                Err(StoreError::ChangedOutside { .. }) => true,
                opened => opened?.is_some(),
            },
            None => false,
        };
        if !opened {
            missing.push(mailbox.clone());
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use oxpost_token_store::SenderPolicy;

    use super::*;

    #[test]
    fn most_specific_network_applies() {
        let device = |network: &str, account: &str| config::Device {
            networks: vec![network.parse().unwrap()],
            account: Mailbox::parse(account).unwrap(),
            senders: SenderPolicy::default(),
            recipients: None,
            messages_per_minute: 10,
        };
        let devices = Devices::new(&[
            device("10.1.2.0/24", "hall@contoso.com"),
            device("10.0.0.0/8", "site@contoso.com"),
            device("10.1.2.3/32", "lift@contoso.com"),
            device("fd00:1::/64", "six@contoso.com"),
        ]);
        for (peer, account) in [
            ("10.1.2.3", Some("lift@contoso.com")),
            ("::ffff:10.1.2.3", Some("lift@contoso.com")),
            ("10.1.2.4", Some("hall@contoso.com")),
            ("10.9.9.9", Some("site@contoso.com")),
            ("11.1.2.3", None),
            ("fd00:1::5", Some("six@contoso.com")),
            ("fd00:1:0:1::5", None),
            ("127.0.0.1", None),
        ] {
            let found = devices.at(peer.parse().unwrap()).map(|device| device.config.account.to_string());
            assert_eq!(found.as_deref(), account, "{peer}");
        }
    }
}
