//! The addresses that a session may send as: the policy of its account or device, which can be stricter than the mail server.

use oxpost_protocol::smtp::AllowedSenders;
use oxpost_protocol::smtp::sender_policy::Fallback;
use oxpost_token_store::{Account, Origin, SenderMode, SenderPolicy};

/// The senders of an account; `None` if the mail server alone decides.
pub(crate) fn of_account(account: &Account) -> Option<AllowedSenders> {
    let policy = &account.senders;
    let unrestricted = policy.mode == SenderMode::AsIs && policy.allowed.is_empty() && !account.sends_as_another();
    (!unrestricted).then(|| {
        let mailbox = &account.mailbox;
        let remedy = match account.origin {
            Origin::Command => format!("To allow or to replace it: oxpost account sender {mailbox} --help"),
            Origin::Declared | Origin::Disabled => {
                format!("To allow or to replace it: `senders` of {mailbox} in proxy.toml")
            }
        };
        of_policy(mailbox.as_str(), policy).with_remedy(remedy)
    })
}

/// The senders of a policy: its own address, the allowed ones, and what happens to others.
pub(crate) fn of_policy(own: &str, policy: &SenderPolicy) -> AllowedSenders {
    let fallback = match policy.mode {
        SenderMode::AsIs => Fallback::Reject,
        SenderMode::Account => Fallback::Account,
        SenderMode::Map => Fallback::Map(policy.map.clone()),
    };
    AllowedSenders::new(own, policy.allowed.clone(), fallback)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use oxpost_token_store::{Grant, Mailbox};

    use super::*;

    fn mailbox(address: &str) -> Mailbox {
        Mailbox::parse(address).unwrap()
    }

    #[test]
    fn only_unrestricted_account_has_no_sender_check() {
        let own = Account::new(mailbox("ann@contoso.com"), "default", Grant::SignIn, SystemTime::UNIX_EPOCH);
        assert_eq!(of_account(&own), None);
        let shared =
            Account { mailbox: mailbox("info@contoso.com"), delegate: Some(own.mailbox.clone()), ..own.clone() };
        assert!(of_account(&shared).is_some(), "the mail server accepts every address that Ann may send as");
        let app_only = Account { grant: Grant::ClientCredentials, ..shared };
        assert_eq!(of_account(&app_only), None);
        for (mode, allowed) in [(SenderMode::Account, None), (SenderMode::AsIs, Some("info@contoso.com"))] {
            let senders = SenderPolicy::parse(mode, allowed, []).unwrap();
            assert!(of_account(&Account { senders, ..own.clone() }).is_some());
        }
    }
}
