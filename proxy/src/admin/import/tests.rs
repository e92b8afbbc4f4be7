//! Files of both programs, and what becomes of them. Each plan is written out and loaded, so that nothing is planned that
//! the program itself would refuse.

mod davmail;

mod services;

use std::fmt::Write as _;

use super::*;
use davmail::DAVMAIL;

/// Written by email-oauth2-proxy 2026.7.3 itself, with tokens made up for it: Alice's as it seals now, Bob's as before
/// October 2023, Carol's as in 2024, and an app-only account that inherits from its domain.
const REAL: &str = include_str!("fixtures/emailproxy.config");

const PASSWORDS: [(&str, &str); 4] = [
    ("alice@contoso.com", "Zwölf Boxkämpfer"),
    ("bob@contoso.com", "hunter2"),
    ("carol@fabrikam.com", "correct horse"),
    ("scanner@fabrikam.com", "tray number 4"),
];

const TENANT: &str = "8d7b1f1e-0a7c-4c55-9d43-0f6a5a1c2b3d";

fn plan(text: &str) -> Plan {
    let mut plan = read(text, None, Path::new("/etc/emailproxy")).unwrap();
    plan.fit(Path::new("/tmp/proxy.toml"));
    plan
}

/// The text of a new proxy.toml, and what it means.
fn written(plan: &Plan) -> (String, crate::Config) {
    let text = Missing::of(plan, None, Path::new("emailproxy.config")).text;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, &text).unwrap();
    let config = crate::Config::load(&file).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, config)
}

fn left(plan: &Plan) -> String {
    let lines = plan.left.iter().map(|left| format!("{}: {}: {}\n", left.line, left.what, left.why));
    lines.collect()
}

/// An account with the usual addresses; `more` overrides nothing.
fn account(name: &str, more: &str) -> String {
    let base = "https://login.microsoftonline.com/contoso.com/oauth2/v2.0";
    let permission =
        if more.contains("oauth2_flow") { String::new() } else { format!("permission_url = {base}/authorize\n") };
    format!("[{name}]\n{permission}token_url = {base}/token\nclient_id = 1111\n{more}\n")
}

#[test]
fn sealed_values_of_the_real_program_open_with_the_old_password() {
    let plan = plan(REAL);
    for (mailbox, password) in PASSWORDS {
        let account = plan.accounts.iter().find(|account| account.mailbox.as_str() == mailbox).unwrap();
        let sealed = account.sealed.as_ref().unwrap();
        let mut opener = sealed.lock.opener(&Secret::from(password));
        let mut open = |sealed: &Option<String>| {
            sealed.as_ref().map(|sealed| opener.open(sealed).unwrap().reveal_str().unwrap().to_owned())
        };
        let app_only = mailbox == "scanner@fabrikam.com";
        assert_eq!(open(&sealed.refresh_token), (!app_only).then(|| format!("refresh-token-of-{mailbox}")));
        assert_eq!(open(&sealed.proof), Some(format!("access-token-of-{mailbox}")));
        let secret = (mailbox == "carol@fabrikam.com").then(|| "carols-client-secret-Aa1~".to_owned());
        assert_eq!(open(&sealed.client_secret), secret);
        let mut wrong = sealed.lock.opener(&Secret::from("Zwolf Boxkampfer"));
        assert!(wrong.open(sealed.proof.as_deref().unwrap()).is_none());
    }
}

#[test]
fn a_real_configuration_becomes_one_that_loads() {
    let plan = plan(REAL);
    let (text, config) = written(&plan);
    let listeners: Vec<String> =
        config.listeners.iter().map(|listener| format!("{} {}", listener.protocol, listener.address)).collect();
    assert_eq!(listeners, ["IMAP 127.0.0.1:1993", "POP3 127.0.0.1:1995", "SMTP 127.0.0.1:1587"]);
    assert!(text.contains("#address = \"[::]:1587\"\n#networks = "), "{text}");
    let names = |account: &Account| (account.mailbox.to_string(), account.application, account.grant);
    assert_eq!(
        plan.accounts.iter().map(names).collect::<Vec<_>>(),
        [
            ("alice@contoso.com".into(), 0, Grant::SignIn),
            ("bob@contoso.com".into(), 1, Grant::SignIn),
            ("carol@fabrikam.com".into(), 2, Grant::SignIn),
            ("scanner@fabrikam.com".into(), 3, Grant::ClientCredentials),
        ]
    );
    assert_eq!(config.applications.names(), ["default", "imported", "imported-2", "imported-3"]);
    let (alice, bob) = (config.applications.get("default").unwrap(), config.applications.get("imported").unwrap());
    assert_eq!(alice.token_url.as_str(), format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"));
    assert_eq!((alice.redirect_uri.as_deref(), alice.delegated_scopes.len()), (None, 4), "the usual, at any port");
    // A refresh that asks for POP3, for which there is no consent, would be refused.
    assert_eq!(
        bob.delegated_scopes,
        [
            "https://outlook.office365.com/IMAP.AccessAsUser.All",
            "https://outlook.office365.com/SMTP.Send",
            "offline_access"
        ]
    );
    let carol = config.applications.get("imported-2").unwrap();
    assert_eq!(carol.redirect_uri.as_deref(), Some("https://login.fabrikam.com/callback"));
    let secret = plan.applications[3].secret.as_ref().unwrap();
    assert_eq!(secret.reveal(), b"fabrikams-client-secret-Aa1~");
    let left = left(&plan);
    assert!(left.contains("[SMTP-1587], listening on ::") && left.contains("[@fabrikam.com]"), "{left}");
    assert_eq!(plan.left.len(), 2, "{left}");
    for secret in ["client-secret", "gAAAA", "token_salt"] {
        assert!(!format!("{plan:?}{left}{text}").contains(secret), "{secret}");
    }
}

#[test]
fn what_is_there_already_is_not_missing() {
    let plan = plan(REAL);
    let (text, config) = written(&plan);
    let missing = Missing::of(&plan, Some(Present { text: &text, config: &config }), Path::new("x"));
    assert_eq!((missing.text.as_str(), missing.listeners.as_slice()), ("", [true; 3].as_slice()));
    let names: Vec<_> = missing.applications.iter().flatten().map(|named| named.name.as_str()).collect();
    assert_eq!(names, ["default", "imported", "imported-2", "imported-3"]);

    // Another one's proxy.toml, which has some of the names and of the ports.
    let text = "[[listener]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:1993\"\n\
                [[listener]]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:1587\"\n\
                [[application]]\nname = \"default\"\ntenant = \"x\"\nclient-id = \"y\"\n\
                [[application]]\nname = 'imported-office365'\ntenant = \"x\"\nclient-id = \"z\"\n";
    let config = crate::Config::try_text(Path::new("proxy.toml"), text).unwrap();
    let missing = Missing::of(&plan, Some(Present { text, config: &config }), Path::new("x"));
    assert_eq!(missing.listeners, [false, false, true]);
    assert!(missing.left[0].why.contains("POP3"), "{:?}", missing.left);
    assert!(!missing.text.contains("127.0.0.1:1993") && missing.text.contains("127.0.0.1:1995"), "{}", missing.text);
    assert!(missing.applications.iter().flatten().all(|named| !named.usable && named.name != "default"));
    assert!(missing.text.contains("\"imported-office365-2\""), "{}", missing.text);
    let both = format!("{text}{}", missing.text);
    let config =
        crate::Config::try_text(Path::new("proxy.toml"), &both).unwrap_or_else(|error| panic!("{error}\n{both}"));
    let again = Missing::of(&plan, Some(Present { text: &both, config: &config }), Path::new("x"));
    assert_eq!(again.text, "", "what was added is found");
}

#[test]
fn each_flow_becomes_its_grant_or_is_named() {
    let text = [
        account("a@contoso.com", ""),
        account("b@contoso.com", "oauth2_flow = client_credentials"),
        account("c@contoso.com", "oauth2_flow = password"),
        account("d@contoso.com", "oauth2_flow = service_account"),
        account("e@contoso.com", "oauth2_flow ="),
        account("f@contoso.com", "oauth2_flow = magic"),
        account("g@contoso.com", "").replace("/contoso.com/", "/common/"),
    ]
    .concat();
    let plan = plan(&text);
    let grants: Vec<_> = plan.accounts.iter().map(|account| (account.mailbox.as_str(), account.grant)).collect();
    assert_eq!(
        grants,
        [
            ("a@contoso.com", Grant::SignIn),
            ("b@contoso.com", Grant::ClientCredentials),
            ("c@contoso.com", Grant::Password),
            ("g@contoso.com", Grant::SignIn)
        ]
    );
    let left = left(&plan);
    for part in
        ["[d@contoso.com]: Oxpost has no service accounts", "[e@contoso.com]: it has neither", "no flow `magic`"]
    {
        assert!(left.contains(part), "{left}");
    }
    written(&plan);
    // No mailbox in particular answers there for an application.
    let common = account("b@contoso.com", "oauth2_flow = client_credentials").replace("/contoso.com/", "/common/");
    let plan = super::read(&common, None, Path::new("")).map(|mut plan| {
        plan.fit(Path::new("proxy.toml"));
        plan
    });
    let plan = plan.unwrap();
    assert!(plan.accounts.is_empty() && plan.left[0].why.contains("no tenant"), "{:?}", plan.left);
}

#[test]
fn what_makes_no_sense_is_listed_without_what_is_secret() {
    let text = format!(
        "[IMAP-0]\nserver_address = outlook.office365.com\n[IMAP-99999]\nserver_address = outlook.office365.com\n\
         [POP-1995]\nserver_port = 995\n[SMTP-1995]\nserver_address = smtp.office365.com\nlocal_address = 127.0.0.1\nlocal_adress = x\n\
         [POP-1996]\nserver_address = outlook.office365.com\n[IMAP-1996]\nserver_address = outlook.office365.com\n{}{}{}{}{}{}\
         [Strange]\nkey = my-secret\n[emailproxy]\nsome_option = my-secret\n[@contoso.com]\nclient_id = 1\n",
        account("a@contoso.com", "refresh_token = my-secret\npasswort = my-secret"),
        account("A@Contoso.com", ""),
        account("b@contoso.com", "refresh_token = my-secret\ntoken_salt = my-secret!"),
        account("c@contoso.com", "").replace("client_id = 1111", "client_id = *** your client id here ***"),
        account("d@contoso.com", "").replace("https://login", "http://login"),
        account("not an address@x", "bXktc2VjcmV0bXktc2VjcmV0bXktc2VjcmV0bXktc2VjcmV0bXktc2VjcmV0bXktc2VjcmV0 = x"),
    );
    let plan = plan(&text);
    written(&plan);
    let left = left(&plan);
    for part in [
        "1: [IMAP-0]: its port is invalid",
        "3: [IMAP-99999]: its port is invalid",
        "5: [POP-1995]: it has no `server_address`",
        "[SMTP-1995], `local_adress`",
        "127.0.0.1:1996 is the address of the POP3 listener",
        "[a@contoso.com], `refresh_token`: its `token_salt` is missing",
        "[a@contoso.com], `passwort`",
        "[A@Contoso.com]: capital letters aside",
        "[b@contoso.com], `refresh_token`: its `token_salt` is damaged",
        "[c@contoso.com]: it is an unedited example",
        "[d@contoso.com]: its `token_url` is not an https:// address",
        "[not an address@x]: `not an address@x` is not a mail address",
        "a key that is no word",
        "[Strange]: unknown section",
        "[emailproxy], `some_option`",
        "[@contoso.com]: it had no effect",
    ] {
        assert!(left.contains(part), "{part}\n{left}");
    }
    assert!(!left.to_lowercase().contains("my-secret") && !left.to_lowercase().contains("bxktc2"), "{left}");
    assert_eq!(plan.accounts.len(), 2, "{left}");
}

#[test]
fn a_second_file_of_tokens_is_put_into_the_first() {
    let (mut first, mut cache) = (String::new(), String::new());
    for section in REAL.split_inclusive("\n\n") {
        let (own, cached): (Vec<&str>, Vec<&str>) = section.lines().partition(|line| {
            !["token_salt", "token_iterations", "access_token", "refresh_token", "client_secret_encrypted"]
                .iter()
                .any(|key| line.starts_with(key))
        });
        first.push_str(&own.join("\n"));
        first.push('\n');
        if !cached.is_empty() {
            let _ = writeln!(cache, "{}\n{}\n", section.lines().next().unwrap(), cached.join("\n"));
        }
    }
    let folder = Path::new("");
    let without = read(&first, None, folder).unwrap();
    assert!(without.accounts.iter().all(|account| account.sealed.is_none()));
    let with = read(&first, Some(&cache), folder).unwrap();
    let sealed = with.accounts[0].sealed.as_ref().unwrap();
    let mut opener = sealed.lock.opener(&Secret::from("Zwölf Boxkämpfer"));
    assert!(opener.open(sealed.refresh_token.as_ref().unwrap()).is_some());
    // Accounts that a catch-all has accepted are in the second file only.
    let first = first.replace("[scanner@fabrikam.com]", "");
    assert_eq!(read(&first, None, folder).unwrap().accounts.len(), 3);
    assert_eq!(read(&first, Some(&cache), folder).unwrap().accounts.len(), 4);
    let left = left(&read(&cache, None, folder).unwrap());
    assert!(left.contains("--cache-store"), "{left}");
}

#[test]
fn files_of_another_kind_are_refused() {
    let folder = Path::new("");
    for text in
        ["", "hello", "{\"json\": 1}", "[section]\nkey = value\n", "[[listener]]\nprotocol = \"imap\"\n", "\u{0}\u{1}"]
    {
        assert_eq!(read(text, None, folder).unwrap_err(), Unreadable::Unknown, "{text:?}");
    }
}

/// Whatever a file contains, what is written loads.
#[test]
fn a_damaged_file_becomes_nothing_that_does_not_load() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let pieces =
        ["\"", "'", "\\", "]", "[", "=", "\n", "\u{1b}[31m", "*** your", "ä", " ", "https://", "\t", "@", "0", "#"];
    let mut read_at_all = 0;
    for source in [REAL, DAVMAIL] {
        for _ in 0..150 {
            let mut text: Vec<char> = source.chars().collect();
            for _ in 0..=random(4) {
                let (at, piece) = (random(text.len()), pieces[random(pieces.len())]);
                let end = (at + random(12)).min(text.len());
                text.splice(at..end, piece.chars());
            }
            let text: String = text.into_iter().collect();
            let Ok(mut plan) = read(&text, None, Path::new("/x")) else { continue };
            plan.fit(Path::new("/tmp/proxy.toml"));
            let new = Missing::of(&plan, None, Path::new("emailproxy.config")).text;
            crate::Config::try_text(Path::new("proxy.toml"), &new)
                .unwrap_or_else(|error| panic!("{error}\n{new}\n{text}"));
            assert!(!left(&plan).contains('\u{1b}'), "{}", left(&plan));
            read_at_all += 1;
        }
    }
    assert!(read_at_all > 200, "{read_at_all}");
}
