//! The shipped file, its commented alternatives, and what a wrong one is told.

use std::path::Path;

use super::*;

const SHIPPED: &str = include_str!("../../../proxy.toml");

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("client-secret.txt"), "s3cret\n").unwrap();
    Config::load(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "proxy.toml"))
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
            _ => format!("{line}\n"),
        })
        .collect();
    let config = load(&switched_on).unwrap();
    assert_eq!(config.listeners.len(), 4);
    assert!(config.listeners[3].tls_before_login);
    assert_eq!(config.applications.names(), ["app-only", "default"]);
    let secret = config.applications.get("app-only").unwrap().client_secret.clone().unwrap();
    assert_eq!(secret.reveal(), b"s3cret", "the line end is not part of it");
    let application = config.applications.get("default").unwrap();
    assert_eq!(
        application.token_url.as_str(),
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    assert_eq!(config.servers["default"].smtp.host, "smtp.office365.com");
}

#[test]
fn the_defaults_are_those_the_shipped_file_shows() {
    let (shipped, empty) = (load(SHIPPED).unwrap(), load("").unwrap());
    assert_eq!(format!("{:?}", shipped.limits), format!("{:?}", empty.limits));
    assert_eq!(shipped.log.level, empty.log.level);
    assert_eq!(shipped.store.file_name(), empty.store.file_name());
    assert_eq!(shipped.key_file.file_name(), empty.key_file.file_name());
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
        (listener("127.0.0.1:25", "networks = [\"10.0.0\"]"), 4, "not a network"),
        (listener("127.0.0.1:25", &listener("127.0.0.1:25", "")), 6, "its own port"),
        (application("tenant = \"t\"\nclient-id = \"c d\""), 4, "Overview"),
        (application("tenant = \"t\"\nclient-id = \"c\"\nprovider = \"gmial\""), 5, "presets"),
        (application("tenant = \"t\"\nclient-id = \"c\"\nclient-secret-file = \"none.txt\""), 5, "none.txt"),
        ("[limits]\nconnections = 0".to_owned(), 2, "10000"),
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

#[test]
fn everything_wrong_is_told_at_once() {
    let error = load("[limits]\nconnections = 0\nidle-timeout = \"0s\"").unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = Config::load(Path::new("/nowhere/proxy.toml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/proxy.toml") && error.contains("--config"), "{error}");
}
