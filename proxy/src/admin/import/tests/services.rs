//! Mail services and applications: by a preset's name, or in a section of their own.

use super::*;

#[test]
fn clouds_and_services_are_distinguished() {
    let text = [
        "[IMAP-1993]\nserver_address = outlook-dod.office365.us\nserver_port = 993\nlocal_address = ::1\n",
        "[SMTP-2587]\nserver_address = SMTP-mail.outlook.com\nserver_port = 587\nserver_starttls = yes\nlocal_address = localhost\n",
        &account("me@outlook.com", "").replace("/contoso.com/", "/common/"),
        &account("gov@agency.gov", "").replace("microsoftonline.com", "microsoftonline.us"),
        &account("cn@contoso.cn", "").replace("login.microsoftonline.com", "login.partner.microsoftonline.cn"),
        "[me@gmail.com]\npermission_url = https://accounts.google.com/o/oauth2/auth\ntoken_url = https://oauth2.googleapis.com/token\n\
         oauth2_scope = https://mail.google.com/\nclient_id = x.apps.googleusercontent.com\nclient_secret = s\n\
         redirect_uri = http://localhost\n",
    ]
    .concat();
    let plan = plan(&text);
    let providers: Vec<_> = plan.applications.iter().map(|application| &application.provider).collect();
    let preset = Provider::Preset;
    assert_eq!(
        providers,
        [&preset("outlook.com"), &preset("us-gov-dod"), &preset("china"), &preset("gmail")],
        "{}",
        left(&plan)
    );
    let (_, config) = written(&plan);
    assert_eq!(config.listeners[0].address.to_string(), "[::1]:1993");
    assert!(plan.left.is_empty(), "{}", left(&plan));
}

#[test]
fn unknown_service_gets_a_section_of_its_own() {
    let text = "[IMAP-1993]\nserver_address = imap.fastmail.com\nserver_port = 993\nlocal_address = 127.0.0.1\n\
                [SMTP-1465]\nserver_address = smtp.fastmail.com\nserver_port = 465\nlocal_address = 127.0.0.1\n\
                [IMAP-2993]\nserver_address = imap.unknown.example\nserver_port = 993\nlocal_address = 127.0.0.1\n\
                [me@fastmail.com]\npermission_url = https://api.fastmail.com/oauth/authorize\n\
                token_url = https://api.fastmail.com/oauth/refresh\noauth2_scope = https://a/imap https://a/smtp\nclient_id = abc\n\
                [me@elsewhere.example]\npermission_url = https://id.elsewhere.example/a\ntoken_url = https://id.elsewhere.example/t\n\
                oauth2_scope = mail\nclient_id = abc\n\
                [you@elsewhere.example]\ntoken_url = https://id.elsewhere.example/t\noauth2_flow = client_credentials\n\
                oauth2_scope = mail\nclient_id = abc\n";
    let plan = plan(text);
    let (text, config) = written(&plan);
    let servers = &config.servers["default"];
    assert_eq!((servers.imap.host.as_str(), servers.smtp.port), ("imap.fastmail.com", 465));
    let application = config.applications.get("default").unwrap();
    assert_eq!(application.authorize_url.as_str(), "https://api.fastmail.com/oauth/authorize");
    assert_eq!(application.token_url.as_str(), "https://api.fastmail.com/oauth/refresh");
    assert_eq!(application.delegated_scopes, ["https://a/imap", "https://a/smtp"]);
    assert!(text.contains("name = \"api.fastmail.com\""), "{text}");
    let left = left(&plan);
    for part in [
        "no server for POP3",
        "3: [IMAP-2993]",
        "[me@elsewhere.example]: the file names no mail server",
        "[you@elsewhere.example]: Oxpost does not know the sign-in service",
    ] {
        assert!(left.replace("9: [IMAP-2993]", "3: [IMAP-2993]").contains(part), "{part}\n{left}");
    }
}

#[test]
fn a_server_of_its_own_goes_over_the_preset() {
    let text = format!(
        "[SMTP-1587]\nserver_address = relay.contoso.com\nserver_port = 25\nserver_starttls = True\nlocal_address = 127.0.0.1\n\
         [SMTP-2587]\nserver_address = relay2.contoso.com\nserver_port = 25\nserver_starttls = True\nlocal_address = 127.0.0.1\n{}",
        account("a@contoso.com", "")
    );
    let plan = plan(&text);
    let (_, config) = written(&plan);
    let smtp = &config.servers["default"].smtp;
    assert_eq!((smtp.host.as_str(), smtp.port), ("relay.contoso.com", 25));
    assert_eq!(config.servers["default"].imap.host, "outlook.office365.com");
    assert!(left(&plan).contains("6: [SMTP-2587]: an account has one SMTP server"), "{}", left(&plan));
}

#[test]
fn certificates_are_taken_where_they_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("local.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("local.key"), made.signing_key.serialize_pem()).unwrap();
    let tls = "local_certificate_path = local.pem\nlocal_key_path = local.key\nlocal_address = 127.0.0.1\n";
    let text = format!(
        "[IMAP-1993]\nserver_address = outlook.office365.com\n{tls}\
         [SMTP-1587]\nserver_address = smtp.office365.com\nlocal_starttls = True\n{tls}\
         [SMTP-2587]\nserver_address = smtp.office365.com\nlocal_starttls = True\n\
         [POP-1995]\nserver_address = outlook.office365.com\n{}{}",
        tls.replace("local.key", "none.key"),
        account(
            "a@contoso.com",
            "oauth2_flow = client_credentials\njwt_certificate_path = app.pem\njwt_key_path = app.key"
        ),
    );
    let mut plan = read(&text, None, folder.path()).unwrap();
    assert_eq!(plan.applications[0].certificate.as_ref().unwrap().0, folder.path().join("app.pem"));
    plan.fit(Path::new("proxy.toml"));
    let (_, config) = written(&plan);
    let tls: Vec<_> = config.listeners.iter().map(|listener| (listener.protocol, listener.tls)).collect();
    assert_eq!(tls, [(Protocol::Imap, ListenerTls::Implicit), (Protocol::Smtp, ListenerTls::StartTls)]);
    let left = left(&plan);
    for part in [
        "[SMTP-2587]: `local_starttls` needs both",
        "POP3 on 127.0.0.1:1995: ",
        "none.key",
        "the certificate of this account's",
        "app.pem",
    ] {
        assert!(left.contains(part), "{part}\n{left}");
    }
    assert_eq!(plan.accounts.len(), 1, "the account stays: {left}");
}
