//! DavMail.

use super::*;

pub(super) const DAVMAIL: &str = include_str!("../fixtures/davmail.properties");

#[test]
fn davmails_properties_go_as_far_as_they_go() {
    let plan = plan(DAVMAIL);
    let (text, config) = written(&plan);
    assert_eq!(config.listeners.len(), 3);
    assert!(text.contains("#address = \"0.0.0.0:1025\""), "{text}");
    let application = config.applications.get("default").unwrap();
    assert_eq!(
        (application.tenant.as_deref(), application.client_id.as_str()),
        (Some(TENANT), "11111111-2222-3333-4444-555555555555")
    );
    let mailboxes: Vec<_> = plan.accounts.iter().map(|account| account.mailbox.as_str()).collect();
    assert_eq!(mailboxes, ["scan@contoso.com"]);
    let left = left(&plan);
    for part in [
        "1: the app registration: for IMAP",
        "9: the sign-in of scan@contoso.com: ",
        "10: `davmail.oauth.Scan@Contoso.com.refreshToken`: the account is a duplicate",
        "11: `davmail.oauth.colleague.refreshToken`: it names no mail address",
        "`davmail.caldavPort`: Oxpost has no calendar",
        "`davmail.bindAddress`: write it as `address`",
        "`davmail.ssl.keystorePass`: its listeners had TLS",
        "`davmail.defaultDomain`: Oxpost has no such setting",
    ] {
        assert!(left.contains(part), "{part}\n{left}");
    }
    for secret in ["{AES}", "c2Vj", "-secret"] {
        assert!(!format!("{left}{text}{plan:?}").contains(secret), "{secret}");
    }
    for quiet in
        ["davmail.mode", "davmail.url", "disableUpdateCheck", "nosecureimap", "enableProxy", "useSystemProxies"]
    {
        assert!(!left.contains(quiet), "{quiet}\n{left}");
    }
}

#[test]
fn davmails_own_registration_must_be_replaced_first() {
    let plan = plan(
        "davmail.imapPort=1143\ndavmail.oauth.a@contoso.com.refreshToken=x\ndavmail.smtpPort=1143\ndavmail.popPort=0\n",
    );
    let (text, config) = written(&plan);
    assert!(config.applications.names().is_empty());
    assert!(text.contains("#client-id = \"0000"), "{text}");
    let left = left(&plan);
    assert!(
        left.contains("DavMail's own app registration") && left.contains("`davmail.smtpPort`: the IMAP listener"),
        "{left}"
    );
    let missing = Missing::of(&plan, None, Path::new("x"));
    assert!(!missing.applications[0].as_ref().unwrap().usable);
    // Once it is filled in, it is found.
    let filled_in = text
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)));
    let filled_in = filled_in.collect::<String>().replace("00000000-0000-0000-0000-000000000000", "abc");
    let config = crate::Config::try_text(Path::new("proxy.toml"), &filled_in).unwrap();
    let missing = Missing::of(&plan, Some(Present { text: &filled_in, config: &config }), Path::new("x"));
    assert!(missing.text.is_empty() && missing.applications[0].as_ref().unwrap().usable, "{}", missing.text);
}
