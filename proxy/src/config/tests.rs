//! The shipped file, its commented alternatives, and the errors of wrong ones.

mod shapes;

use std::path::Path;

use super::*;

const SHIPPED: &str = include_str!("../../../proxy.toml");

fn load(text: &str) -> Result<Config, String> {
    load_in(&tempfile::tempdir().unwrap(), text)
}

fn load_in(folder: &tempfile::TempDir, text: &str) -> Result<Config, String> {
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    for name in ["client-secret.txt", "postgres-password.txt"] {
        write_with_mode(&folder.path().join(name), "s3cret\n", 0o600);
    }
    write_with_mode(&folder.path().join("open.txt"), "s3cret\n", 0o644);
    Config::load(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "proxy.toml"))
}

fn write_with_mode(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    std::fs::write(path, content).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    #[cfg(not(unix))]
    let _ = mode;
}

/// A client secret opens all mailboxes of the application, and the password of the database shows all rows.
#[cfg(unix)]
#[test]
fn files_with_secrets_that_others_may_read_are_refused() {
    let client = "[[application]]\nname = \"a\"\ntenant = \"t\"\nclient-id = \"c\"\nclient-secret-file = \"open.txt\"";
    let database =
        "[store]\npostgres = \"postgresql://oxpost@db.example.com/oxpost\"\npostgres-password-file = \"open.txt\"";
    for (text, line) in [(client, 5), (database, 3)] {
        let error = load(text).unwrap_err();
        assert!(error.contains(&format!("line {line}")) && error.contains("can be read by others"), "{error}");
        assert!(error.contains("chmod o-rwx") && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn the_shipped_file_starts_as_it_is() {
    let config = load(SHIPPED).unwrap();
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:1143", "127.0.0.1:1110", "127.0.0.1:1587"]);
    assert!(config.applications.names().is_empty());
}

/// What a user switches on must work, and what the file shows as a default must be the default.
#[test]
fn the_commented_alternatives_load() {
    let switched_on: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with([' ', '#']) => format!("{setting}\n"),
            // The store is one or the other.
            _ if line.starts_with("path = ") => String::new(),
            _ => format!("{line}\n"),
        })
        .collect();
    let files = super::credential::tests::Files::in_folder(tempfile::tempdir().unwrap());
    let config = load_in(&files.0, &switched_on).unwrap();
    assert_eq!(config.listeners.len(), 4);
    assert!(config.listeners[3].tls_before_login);
    assert_eq!(
        config.applications.names(),
        ["app-only", "default", "google", "in-kubernetes", "this-machine", "with-certificate", "with-pfx"]
    );
    let accounts: Vec<&str> = config.accounts.iter().map(|account| account.declared.mailbox.as_str()).collect();
    assert_eq!(accounts, ["scanner@contoso.com", "info@contoso.com", "*@contoso.com"]);
    let secret = config.applications.get("app-only").unwrap().client_secret.clone().unwrap();
    assert_eq!(secret.reveal(), b"s3cret", "the line end is not part of it");
    let application = config.applications.get("default").unwrap();
    assert_eq!(
        application.token_url.as_str(),
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    assert_eq!(config.servers["default"].smtp.host, "smtp.office365.com");
    assert!(matches!(config.store, StorePlace::Postgres(_)));
}

/// Which listeners accept a password without TLS, and which refuse it.
#[test]
fn password_without_tls_is_refused_where_it_crosses_a_network() {
    let tls_before_login = |address: &str, more: &str| {
        let text = format!(
            "[[listener]]\nprotocol = \"smtp\"\naddress = \"{address}:25\"\ntls = \"start-tls\"\ncertificate = \"x\"\n\
             private-key = \"y\"\nnetworks = [\"10.0.0.0/8\"]\n{more}"
        );
        load(&text).unwrap().listeners[0].tls_before_login
    };
    for (address, more, expected) in [
        ("0.0.0.0", "", true),
        ("0.0.0.0", "allow-plaintext = true", false),
        ("0.0.0.0", "allow-plaintext = true\ntls-before-login = true", true),
        ("0.0.0.0", "allow-plaintext = true\ntls-before-login = false", false),
        ("127.0.0.1", "", false),
        ("127.0.0.1", "tls-before-login = true", true),
        ("127.0.0.1", "tls-before-login = false", false),
    ] {
        assert_eq!(tls_before_login(address, more), expected, "{address} {more}");
    }
}

#[test]
fn the_defaults_are_those_the_shipped_file_shows() {
    let (shipped, empty) = (load(SHIPPED).unwrap(), load("").unwrap());
    assert_eq!(format!("{:?}", shipped.limits), format!("{:?}", empty.limits));
    assert_eq!(shipped.login_throttle, empty.login_throttle);
    assert_eq!(shipped.admission, empty.admission);
    assert_eq!(shipped.log.level, empty.log.level);
    let file_name = |config: &Config| match &config.store {
        StorePlace::File(path) => path.file_name().map(ToOwned::to_owned),
        StorePlace::Postgres(_) => None,
    };
    assert_eq!(file_name(&shipped), file_name(&empty));
    assert_eq!(file_name(&empty).unwrap(), "oxpost.db");
    let key = |config: &Config| config.key.to_string().rsplit(['/', '\\']).next().map(str::to_owned);
    assert_eq!(key(&shipped), key(&empty));
}

#[test]
fn the_store_is_a_file_or_a_database() {
    let store = |keys: &str| load(&format!("[store]\n{keys}\n"));
    let url = "postgres = \"postgresql://oxpost@db.example.com/oxpost?sslmode=verify-full\"";
    let config = store(&format!("{url}\npostgres-password-file = \"client-secret.txt\"")).unwrap();
    let shown = format!("{:?}", config.store);
    assert_eq!(shown, "Postgres(postgresql://oxpost@db.example.com/oxpost)", "and the password is never shown");
    for (keys, line, words) in [
        (format!("path = \"a.db\"\n{url}"), 3, "remove one of the two"),
        ("postgres = \"postgresql://a@db.example.com/b?sslmode=disable\"".into(), 2, "unencrypted"),
        ("postgres = \"postgresql://a:s3cret@db.example.com/b\"".into(), 2, "postgres-password-file"),
        ("postgres-password-file = \"client-secret.txt\"".into(), 2, "but no `postgres`"),
        (format!("{url}\npostgres-password-file = \"none.txt\""), 3, "cannot be read"),
    ] {
        let error = store(&keys).unwrap_err();
        assert!(error.contains(&format!("{line}")) && error.contains(words), "{error}");
        assert!(!error.contains("a:s3cret"), "{error}");
    }
}

#[test]
fn what_cannot_work_is_refused_with_line_and_remedy() {
    let listener =
        |address: &str, more: &str| format!("[[listener]]\nprotocol = \"smtp\"\naddress = \"{address}\"\n{more}\n");
    let application = |more: &str| format!("[[application]]\nname = \"a\"\n{more}\n");
    let provider = |name: &str, host: &str| {
        let server = format!("{{ host = \"{host}\", port = 993 }}");
        format!(
            "[[provider]]\nname = \"{name}\"\nimap = {server}\npop3 = {server}\nsmtp = {server}\n\
             authority = \"https://login.example.com\"\ndelegated-scopes = [\"a\"]\napp-scopes = [\"b\"]\n"
        )
    };
    for (text, line, words) in [
        (listener("0.0.0.0:25", "networks = [\"10.0.0.0/8\"]"), 3, "allow-plaintext"),
        (listener("0.0.0.0:25", "allow-plaintext = true"), 3, "networks"),
        (listener("localhost", ""), 3, "127.0.0.1:1143"),
        (listener("127.0.0.1:25", "tls = \"implicit\""), 4, "private-key"),
        (listener("127.0.0.1:25", "certificate = \"x\""), 4, "tls is \"none\""),
        (listener("127.0.0.1:25", "tls-before-login = true"), 4, "no TLS"),
        (
            listener(
                "0.0.0.0:25",
                "tls = \"start-tls\"\ncertificate = \"x\"\nprivate-key = \"y\"\ntls-before-login = false\nnetworks = [\"::/0\"]",
            ),
            7,
            "allow-plaintext = true as well",
        ),
        (listener("127.0.0.1:25", "networks = [\"10.0.0\"]"), 4, "not a network"),
        (listener("127.0.0.1:25", &listener("127.0.0.1:25", "")), 6, "its own port"),
        (application("tenant = \"t\"\nclient-id = \"c d\""), 4, "Overview"),
        (application("tenant = \"t\""), 1, "`client-id`"),
        (application("tenant = \"t\"\nclient-id = \"c\"\nprovider = \"gmial\""), 5, "presets"),
        (application("tenant = \"t\"\nclient-id = \"c\"\nclient-secret-file = \"none.txt\""), 5, "none.txt"),
        ("[limits]\nmax-connections = 0".to_owned(), 2, "10000"),
        ("[limits]\nmax-sessions-per-source = 10001".to_owned(), 2, "at most 10000"),
        ("[limits]\nconcurrent-password-checks = 0".to_owned(), 2, "no client can log in"),
        ("[limits]\nconcurrent-password-checks = 1000".to_owned(), 2, "19 MiB"),
        ("[login-throttle]\nblock-for = \"0s\"".to_owned(), 2, "block-after = 0"),
        ("[login-throttle]\nblock-after = 10001".to_owned(), 2, "at most 10000"),
        ("[login-throttle]\nfailure-delay = \"21s\"".to_owned(), 2, "20 seconds"),
        ("[login-throttle]\ndecay-interval = \"30d\"".to_owned(), 2, "7 days"),
        ("[login-throttle]\nexempt-networks = [\"lb.example\"]".to_owned(), 2, "192.168.1.5"),
        ("[login-throttle]\nblock = 3".to_owned(), 2, "block-for"),
        ("[log]\nlevel = \"oxpost=lots\"".to_owned(), 2, "trace"),
        ("host-name = \"two words\"".to_owned(), 1, "EHLO"),
        ("[limits]\nidle-timeout = \"18446744073709551615s\"".to_owned(), 2, "30 days"),
        ("[trust]\nsystem-roots = false".to_owned(), 2, "ca-file"),
        (application("tenant = \"t\"\nclient-id = \"c\"").replace("\"a\"", "\" \""), 2, "needs a name"),
        (provider("office365", "imap.example.com"), 2, "preset"),
        (provider("x", "https://imap.example.com"), 3, "not a server"),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(&format!("proxy.toml, line {line}:")) && error.contains(words), "{text}\n→ {error}");
    }
}

/// Each bound as it is written, and the first value beyond it.
#[test]
fn timeouts_are_accepted_up_to_their_bounds() {
    for (key, longest, beyond) in [
        ("login-timeout", "30d", "2592001s"),
        ("upstream-timeout", "30d", "2592001s"),
        ("idle-timeout", "30d", "2592001s"),
        ("smtp-command-timeout", "30d", "2592001s"),
        ("drain-timeout", "30d", "2592001s"),
        ("send-slot-timeout", "4m", "241s"),
    ] {
        let load = |value: &str| load(&format!("[limits]\n{key} = \"{value}\""));
        assert_eq!(load(longest).err(), None, "{key}");
        assert!(load(beyond).unwrap_err().contains("at most"), "{key}");
    }
    for key in ["login-timeout", "upstream-timeout", "idle-timeout", "smtp-command-timeout"] {
        let error = load(&format!("[limits]\n{key} = \"0s\"")).unwrap_err();
        assert!(error.contains("a timeout of zero"), "{error}");
    }
    assert!(load("[limits]\ndrain-timeout = \"0s\"").is_ok());
}

/// What the presets say, as one would write it down.
#[test]
fn the_presets_know_their_servers_and_authorities() {
    for (preset, tenant, mail, smtp, authority, scopes) in [
        (
            "office365",
            "contoso.com",
            "outlook.office365.com",
            "smtp.office365.com",
            "https://login.microsoftonline.com/contoso.com",
            "https://outlook.office.com/SMTP.Send",
        ),
        (
            "outlook.com",
            "",
            "outlook.office365.com",
            "smtp-mail.outlook.com",
            "https://login.microsoftonline.com/consumers",
            "https://outlook.office.com/SMTP.Send",
        ),
        (
            "us-gov-high",
            "contoso.us",
            "outlook.office365.us",
            "outlook.office365.us",
            "https://login.microsoftonline.us/contoso.us",
            "https://outlook.office365.us/SMTP.Send",
        ),
        (
            "us-gov-dod",
            "contoso.us",
            "outlook-dod.office365.us",
            "outlook-dod.office365.us",
            "https://login.microsoftonline.us/contoso.us",
            "https://outlook-dod.office365.us/SMTP.Send",
        ),
        (
            "china",
            "contoso.cn",
            "partner.outlook.cn",
            "smtp.partner.outlook.cn",
            "https://login.partner.microsoftonline.cn/contoso.cn",
            "https://partner.outlook.cn/SMTP.Send",
        ),
    ] {
        let tenant = if tenant.is_empty() { String::new() } else { format!("tenant = \"{tenant}\"\n") };
        let text = format!("[[application]]\nname = \"a\"\nprovider = \"{preset}\"\n{tenant}client-id = \"c\"\n");
        let config = load(&text).unwrap();
        let (application, servers) = (config.applications.get("a").unwrap(), &config.servers["a"]);
        assert_eq!((servers.imap.host.as_str(), servers.imap.port), (mail, 993), "{preset}");
        assert_eq!((servers.pop3.host.as_str(), servers.pop3.port), (mail, 995), "{preset}");
        assert_eq!((servers.smtp.host.as_str(), servers.smtp.port), (smtp, 587), "{preset}");
        assert_eq!(application.authorize_url.as_str(), format!("{authority}/oauth2/v2.0/authorize"));
        assert_eq!(application.token_url.as_str(), format!("{authority}/oauth2/v2.0/token"));
        let device_code = application.device_code_url.as_ref().unwrap();
        assert_eq!(device_code.as_str(), format!("{authority}/oauth2/v2.0/devicecode"));
        assert!(application.delegated_scopes.iter().any(|scope| scope == scopes), "{preset}");
        assert!(application.delegated_scopes.iter().any(|scope| scope == "offline_access"), "{preset}");
        assert_eq!(application.can_be_app_only().is_ok(), preset != "outlook.com", "{preset}");
        assert_eq!((servers.sending.max_connections, servers.sending.messages_per_minute), (3, 30), "{preset}");
    }
}

#[test]
fn gmail_has_addresses_of_its_own_and_no_tenant() {
    let text = "[[application]]\nname = \"a\"\nprovider = \"gmail\"\nclient-id = \"1-x.apps.googleusercontent.com\"\n";
    let config = load(text).unwrap();
    let application = config.applications.get("a").unwrap();
    assert_eq!(config.servers["a"].pop3.host, "pop.gmail.com");
    assert_eq!(config.servers["a"].sending, SendingLimits::default());
    assert_eq!(application.authorize_url.as_str(), "https://accounts.google.com/o/oauth2/v2/auth");
    assert_eq!(application.token_url.as_str(), "https://oauth2.googleapis.com/token");
    assert_eq!((&application.device_code_url, &application.tenant), (&None, &None));
    assert!(application.authorize_parameters.contains(&("access_type".into(), "offline".into())));
    assert!(!application.delegated_scopes.iter().any(|scope| scope == "offline_access"), "Google knows no such scope");
    assert!(application.can_be_app_only().is_err());
}

#[test]
fn a_provider_says_only_what_is_different_from_its_preset() {
    let text = "[[provider]]\nname = \"ours\"\nbased-on = \"office365\"\nsmtp = { host = \"smtp-legacy.office365.com\", port = 587, \
                tls = \"start-tls\" }\ntoken-url = \"https://relay.contoso.com/token\"\nopenid = false\n\
                authorize-parameters = { domain_hint = \"contoso.com\" }\nsending = { messages-per-minute = 0, max-connections = 9 }\n\
                [[application]]\nname = \"a\"\nprovider = \"ours\"\ntenant = \"contoso.com\"\nclient-id = \"c\"\n";
    let config = load(text).unwrap();
    let application = config.applications.get("a").unwrap();
    assert_eq!(config.servers["a"].smtp.host, "smtp-legacy.office365.com");
    assert_eq!(config.servers["a"].imap.host, "outlook.office365.com");
    assert_eq!(application.token_url.as_str(), "https://relay.contoso.com/token");
    assert!(application.authorize_url.as_str().starts_with("https://login.microsoftonline.com/contoso.com/"));
    assert_eq!(application.authorize_parameters, [("domain_hint".to_owned(), "contoso.com".to_owned())]);
    assert!(!application.openid);
    let sending = SendingLimits { max_connections: 9, messages_per_minute: 0, recipients_per_day: 10_000 };
    assert_eq!(config.servers["a"].sending, sending);
}

#[test]
fn provider_or_application_that_lacks_something_is_named() {
    let application = |more: &str| format!("[[application]]\nname = \"a\"\nclient-id = \"c\"\n{more}\n");
    let provider = |more: &str| format!("[[provider]]\nname = \"p\"\n{more}\n");
    let servers = "imap = { host = \"i\", port = 1 }\npop3 = { host = \"p\", port = 2 }\nsmtp = { host = \"s\", port = 3 }\n\
                   delegated-scopes = [\"x\"]\n";
    for (text, line, words) in [
        (application(""), 1, "the tenant is missing"),
        (application("tenant = \"t\"\nredirect-uri = \"http://example.com/\""), 5, "http://localhost"),
        (application("tenant = \"t\"\nredirect-uri = \"myapp://auth\""), 5, "http://localhost"),
        (provider("based-on = \"gmial\""), 3, "presets are office365, outlook.com, us-gov-high"),
        (provider(servers), 1, "authorize-url"),
        (provider("authority = \"https://x\"\npop3 = { host = \"p\", port = 2 }"), 1, "no `imap`"),
        (
            provider("based-on = \"gmail\"\nsending = { max-connections = 10001 }"),
            4,
            "max-connections is at most 10000",
        ),
        (provider("based-on = \"gmail\"\nsending = { max-connection = 1 }"), 4, "max-connections"),
        ("[limits]\nsend-slot-timeout = \"5m\"".into(), 2, "at most 4 minutes"),
        (provider("based-on = \"gmail\"\nauthorize-parameters = { state = \"x\" }"), 4, "Oxpost sets"),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(&format!("proxy.toml, line {line}:")) && error.contains(words), "{text}\n→ {error}");
    }
    let http =
        format!("{}authority = \"http://x\"\n{}", provider(servers), application("tenant = \"t\"\nprovider = \"p\""));
    let error = load(&http).unwrap_err();
    assert!(error.contains("is not an https:// address"), "{error}");
}

#[test]
fn all_problems_are_reported_together() {
    let error = load("[limits]\nmax-connections = 0\nidle-timeout = \"0s\"").unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = Config::load(Path::new("/nowhere/proxy.toml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/proxy.toml") && error.contains("--config"), "{error}");
}
