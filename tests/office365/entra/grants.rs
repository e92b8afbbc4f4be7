//! What Entra has handed out and may be asked to redeem: authorization codes, device codes, refresh tokens.

use std::collections::HashMap;
use std::time::SystemTime;

/// A code on its way through a browser. RFC 6749 section 4.1.2
#[derive(Debug, Clone)]
pub(super) struct AuthorizationCode {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) expires: SystemTime,
    pub(super) redeemed: bool,
}

/// Whether a person has decided about a device code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Pending,
    Approved(String),
    Declined,
    Redeemed,
}

/// A device that waits for a person. RFC 8628
#[derive(Debug, Clone)]
pub(super) struct DeviceCode {
    pub(super) user_code: String,
    pub(super) client_id: String,
    pub(super) scope: String,
    pub(super) expires: SystemTime,
    pub(super) polled: Option<SystemTime>,
    pub(super) decision: Decision,
}

/// A refresh token is bound to a user and an application, to no resource and to no tenant segment.
#[derive(Debug, Clone)]
pub(super) struct RefreshToken {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) issued: SystemTime,
    pub(super) revoked: bool,
    pub(super) used_up: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::office365) struct Grants {
    pub(super) codes: HashMap<String, AuthorizationCode>,
    pub(super) devices: HashMap<String, DeviceCode>,
    pub(super) refresh_tokens: HashMap<String, RefreshToken>,
}

impl Grants {
    /// Revokes every refresh token of a user, as a reset password or `revokeSignInSessions` does.
    pub(in crate::office365) fn revoke(&mut self, user: &str) {
        for token in self.refresh_tokens.values_mut().filter(|token| token.user.eq_ignore_ascii_case(user)) {
            token.revoked = true;
        }
    }

    /// The user has another name from now on; what was granted is still theirs.
    pub(in crate::office365) fn rename(&mut self, from: &str, to: &str) {
        let tokens = self.refresh_tokens.values_mut().map(|token| &mut token.user);
        let codes = self.codes.values_mut().map(|code| &mut code.user);
        for user in tokens.chain(codes).filter(|user| user.eq_ignore_ascii_case(from)) {
            *user = to.to_lowercase();
        }
    }

    pub(in crate::office365) fn add_refresh_token(
        &mut self,
        text: String,
        client_id: &str,
        user: &str,
        now: SystemTime,
    ) {
        let token = RefreshToken {
            client_id: client_id.to_lowercase(),
            user: user.to_lowercase(),
            issued: now,
            revoked: false,
            used_up: false,
        };
        self.refresh_tokens.insert(text, token);
    }

    pub(super) fn device_by_user_code(&mut self, user_code: &str) -> Option<&mut DeviceCode> {
        let wanted: String = user_code.chars().filter(char::is_ascii_alphanumeric).collect();
        self.devices.values_mut().find(|device| device.user_code.eq_ignore_ascii_case(&wanted))
    }

    /// The user codes that wait for a person.
    pub(in crate::office365) fn pending(&self, now: SystemTime) -> Vec<String> {
        let pending =
            self.devices.values().filter(|device| device.decision == Decision::Pending && device.expires > now);
        pending.map(|device| device.user_code.clone()).collect()
    }

    /// A person's decision about a user code: an address, or none. False if no such code waits.
    pub(in crate::office365) fn decide(&mut self, user_code: &str, user: Option<&str>, now: SystemTime) -> bool {
        match self.device_by_user_code(user_code) {
            Some(device) if device.decision == Decision::Pending && device.expires > now => {
                device.decision = user.map_or(Decision::Declined, |user| Decision::Approved(user.to_lowercase()));
                true
            }
            _ => false,
        }
    }
}
