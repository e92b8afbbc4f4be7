//! How the file is read, and what is said of what cannot be.

use super::*;
use crate::config::file::FilePath;

fn with(text: &str, variables: &[(&str, &str)]) -> Result<File, String> {
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    parse_with(Path::new("proxy.toml"), text, Some(variables)).map_err(|error| error.to_string())
}

#[test]
fn the_environment_overrides_the_file() {
    let file = with(
        "[log]\nlevel = \"info\"",
        &[("OXPOST__LOG__LEVEL", "debug"), ("OXPOST__STORE__KEY", "file:/k"), ("OXPOST_CONFIG", "elsewhere")],
    )
    .unwrap();
    assert_eq!((file.log.level.as_str(), file.store.key.0.as_path()), ("debug", Path::new("file:/k")));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let error = with("[log]\nlevel = \"info\"\n\n[limits]\nidle-timout = \"5m\"\n", &[]).unwrap_err();
    assert!(error.contains("proxy.toml, line 5"), "{error}");
    assert!(error.contains("idle-timout") && error.contains("`idle-timeout`"), "{error}");
}

#[test]
fn an_unknown_variable_is_refused_too() {
    let error = with("", &[("OXPOST__STORE", "hunter2")]).unwrap_err();
    assert!(error.contains("wrong kind") && !error.contains("hunter2"), "{error}");
    let error = with("", &[("OXPOST__LOGG__LEVEL", "debug")]).unwrap_err();
    assert!(error.contains("environment") && error.contains("logg"), "{error}");
}

/// What an administrator of Windows writes first. Some of it is no TOML, and some is good TOML of another meaning.
#[test]
fn a_path_with_backslashes_in_double_quotes_is_told_how_to_be_written() {
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
fn values_of_the_wrong_kind_name_their_line() {
    for (text, line, word) in [
        ("[[listener]]\nprotocol = \"imapp\"\naddress = \"127.0.0.1:1\"", 2, "imap"),
        ("[limits]\n\nidle-timeout = \"soon\"", 3, "length of time"),
        ("[limits]\nmax-connections = \"many\"", 2, "connections"),
        ("[store\npath = 1", 1, "TOML"),
        ("[[listener]]\naddress = \"127.0.0.1:1\"", 1, "protocol"),
    ] {
        let error = with(text, &[]).unwrap_err();
        assert!(error.contains(&format!("line {line}")) && error.contains(word), "{error}");
    }
}
