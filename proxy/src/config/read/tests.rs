//! Reading the file, and the errors for what cannot be read.

use super::*;
use crate::config::file::FilePath;
use crate::config::renamed;

fn with(text: &str, variables: &[(&str, &str)]) -> Result<File, String> {
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    parse_with(Path::new("proxy.toml"), text, Some(variables)).map_err(|error| error.to_string())
}

#[test]
fn environment_overrides_file() {
    let file = with(
        "[log]\nlevel = \"info\"",
        &[("OXPOST__LOG__LEVEL", "debug"), ("OXPOST__STORE__KEY", "file:/k"), ("OXPOST_CONFIG", "elsewhere")],
    )
    .unwrap();
    assert_eq!((file.log.level.as_str(), file.store.key.0.as_path()), ("debug", Path::new("file:/k")));
}

#[test]
fn unknown_key_is_refused_with_line_and_nearest_key() {
    let error = with("[log]\nlevel = \"info\"\n\n[limits]\nidle-timout = \"5m\"\n", &[]).unwrap_err();
    assert!(error.contains("proxy.toml, line 5"), "{error}");
    assert!(error.contains("idle-timout") && error.contains("`idle-timeout`"), "{error}");
}

#[test]
fn unknown_environment_variable_is_refused() {
    let error = with("", &[("OXPOST__STORE", "hunter2")]).unwrap_err();
    assert!(error.contains("wrong type") && !error.contains("hunter2"), "{error}");
    let error = with("", &[("OXPOST__LOGG__LEVEL", "debug")]).unwrap_err();
    assert!(error.contains("environment") && error.contains("logg"), "{error}");
}

/// What a Windows administrator writes first. Some of it is invalid TOML, and some is valid with another meaning.
#[test]
fn backslashes_in_double_quotes_get_a_remedy() {
    for path in [r#""C:\users\x.pem""#, r#""C:\Oxpost\x.pem""#, r#""C:\temp\new.pem""#, r#""..\certs\x.pem""#] {
        let error = with(&format!("[trust]\nca-file = {path}"), &[]).unwrap_err();
        assert!(error.contains("line 2") && error.contains(r"'C:\Oxpost\oxpost.key'"), "{path}: {error}");
    }
    for (path, meant) in [
        (r"'C:\temp\new.pem'", r"C:\temp\new.pem"),
        (r#""C:/temp/new.pem""#, "C:/temp/new.pem"),
        (r#""C:\\temp\\new.pem""#, r"C:\temp\new.pem"),
    ] {
        let file = with(&format!("[trust]\nca-file = {path}"), &[]).unwrap();
        assert_eq!(file.trust.ca_file, Some(FilePath(meant.into())));
    }
    let file = with("", &[("OXPOST__STORE__PATH", r"C:\temp\new.db")]).unwrap();
    assert_eq!(file.store.path, Some(FilePath(r"C:\temp\new.db".into())));
}

#[test]
fn value_of_wrong_type_names_its_line() {
    for (text, line, word) in [
        ("[[listener]]\nprotocol = \"imapp\"\naddress = \"127.0.0.1:1\"", 2, "imap"),
        ("[limits]\n\nidle-timeout = \"soon\"", 3, "is not a duration"),
        ("[limits]\nmax-connections = \"many\"", 2, "connections"),
        ("[store\npath = 1", 1, "Write [store]"),
        ("[[listener]]\naddress = \"127.0.0.1:1\"", 1, "protocol"),
    ] {
        let error = with(text, &[]).unwrap_err();
        assert!(error.contains(&format!("line {line}")) && error.contains(word), "{error}");
    }
}

#[test]
fn renamed_key_is_refused_with_line_and_new_name() {
    for (section, old, new, value) in [
        ("[wrong-passwords]", "wrong-passwords", "login-throttle", ""),
        ("[login-throttle]", "forgive", "decay-interval", "\"5m\""),
        ("[login-throttle]", "never-ban", "exempt-networks", "[]"),
        ("[limits]", "unauthenticated", "max-unauthenticated", "10"),
        ("[limits]", "unauthenticated-per-source", "max-unauthenticated-per-source", "10"),
        ("[limits]", "password-checks", "concurrent-password-checks", "4"),
        ("[limits]", "sending-wait", "send-slot-timeout", "\"45s\""),
        ("[[provider]]\nname = \"x\"\n[provider.sending]", "at-once", "max-connections", "3"),
        ("[[account]]\nmailbox = \"a@contoso.com\"", "through", "delegate", "\"b@contoso.com\""),
    ] {
        let text = match value {
            "" => format!("# first line\n{section}\n"),
            value => format!("# first line\n{section}\n{old} = {value}\n"),
        };
        let line = text.lines().count();
        let error = with(&text, &[]).unwrap_err();
        let expected = format!("proxy.toml, line {line}: the key `{old}` was renamed: write `{new}` instead.");
        assert_eq!(error, expected);
        assert!(renamed::RENAMED.contains(&(old, new)), "{old}");
    }
    assert_eq!(renamed::RENAMED.len(), 9, "each row has a case above");
    let error = with("[[provider]]\nname = \"x\"\nsending = { at-once = 3 }\n", &[]).unwrap_err();
    assert!(error.contains("line 3") && error.contains("`max-connections`"), "{error}");
    let error = with("", &[("OXPOST__LIMITS__PASSWORD_CHECKS", "4")]).unwrap_err();
    assert!(error.contains("environment") && error.contains("write `concurrent-password-checks`"), "{error}");
    let error = with("[log]\nthrough = \"x\"\n", &[]).unwrap_err();
    assert!(error.contains("unknown key `through`") && !error.contains("renamed"), "{error}");
}
