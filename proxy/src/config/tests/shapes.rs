//! Every file that `proxy.toml` names, and itself, in every shape that editors and shells give it.

use std::fs;

use oxpost_token_store::text_file::shapes::{self, Reading};

use super::super::credential::tests::Files;
use super::super::{Config, StorePlace};
use super::write_with_mode;

const APPLICATION: &str = "[[application]]\nname = \"a\"\ntenant = \"t\"\nclient-id = \"c\"\n";

/// A file of one line, the configuration that names it, its content, and the value that the configuration then has.
type OneLine = (&'static str, String, &'static str, fn(&Config) -> Vec<u8>);

fn files_of_one_line() -> Vec<OneLine> {
    let database =
        "[store]\npostgres = \"postgresql://oxpost@db.example.com/oxpost\"\npostgres-password-file = \"file\"\n";
    let account = "[[account]]\nmailbox = \"a@contoso.com\"\napplication = \"a\"\npassword-file = \"file\"\n";
    vec![
        ("client secret", format!("{APPLICATION}client-secret-file = \"file\"\n"), "Aa1~the.value", |config| {
            config.applications.get("a").unwrap().client_secret.as_ref().unwrap().reveal().to_vec()
        }),
        ("password of the database", database.into(), "Aa1~the.value", |config| match &config.store {
            // It is never shown again.
            StorePlace::Postgres(_) => b"Aa1~the.value".to_vec(),
            StorePlace::File(_) => Vec::new(),
        }),
        ("password of an account", format!("{APPLICATION}{account}"), "Aa1~the.value", |config| {
            let password = &config.accounts.first().unwrap().declared.passwords.first().unwrap().text;
            match password {
                oxpost_token_store::PasswordText::Plain(password) => password.reveal().to_vec(),
                oxpost_token_store::PasswordText::Hash(_) => Vec::new(),
            }
        }),
        (
            "header of a webhook",
            "[notify]\nwebhook = \"https://a.example\"\nwebhook-header-file = \"file\"\n".into(),
            "Authorization: Aa1~the.value",
            |config| {
                let (name, value) = config.notify.webhook.clone().unwrap().header.unwrap();
                [name.as_bytes(), b": ", value.reveal()].concat()
            },
        ),
        (
            "passphrase",
            format!("{APPLICATION}pfx-file = \"app.pfx\"\npfx-passphrase-file = \"file\"\n"),
            "open sesame",
            // A wrong one does not open the file.
            |_| b"open sesame".to_vec(),
        ),
    ]
}

#[test]
fn every_shape_of_a_secret_is_read_or_named() {
    let files = Files::in_folder(tempfile::tempdir().unwrap());
    let folder = files.0.path();
    for (reader, text, content, value) in files_of_one_line() {
        fs::write(folder.join("proxy.toml"), text).unwrap();
        for shape in shapes::of(content) {
            write_with_mode(&folder.join("file"), &shape.bytes, 0o600);
            match (Config::load(&folder.join("proxy.toml")), shape.one_line) {
                (Ok(config), Reading::Meant) => {
                    assert_eq!(value(&config), content.as_bytes(), "{reader}, {}", shape.name)
                }
                (Err(error), Reading::Named(words)) => {
                    let error = error.to_string();
                    let file = folder.join("file").display().to_string();
                    assert!(error.contains("proxy.toml, line ") && error.contains(&file), "{error}");
                    assert!(error.contains(words), "{reader}, {}: {error}", shape.name);
                    assert!(!error.contains("Aa1~") && !error.contains("sesame"), "{error}");
                }
                (read, _) => panic!("{reader}, {}: {read:?}", shape.name),
            }
        }
    }
}

#[test]
fn every_shape_of_a_certificate_is_read_or_named() {
    let files = Files::in_folder(tempfile::tempdir().unwrap());
    let folder = files.0.path();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (certificate, key) = (read("oxpost-app.crt"), read("oxpost-app.key"));
    for (keys, content) in [
        ("certificate = \"file\"\nprivate-key = \"oxpost-app.key\"\n", certificate),
        ("certificate = \"oxpost-app.crt\"\nprivate-key = \"file\"\n", key),
    ] {
        fs::write(folder.join("proxy.toml"), format!("{APPLICATION}{keys}")).unwrap();
        for shape in shapes::of(&content) {
            write_with_mode(&folder.join("file"), &shape.bytes, 0o600);
            match (Config::load(&folder.join("proxy.toml")), shape.several_lines) {
                (Ok(_), Reading::Meant) | (_, Reading::Any) => {}
                (Err(error), Reading::Named(words)) => {
                    assert!(error.to_string().contains(words), "{keys}, {}: {error}", shape.name);
                }
                (read, Reading::Meant | Reading::Named(_)) => panic!("{keys}, {}: {:?}", shape.name, read.err()),
            }
        }
    }
}

#[test]
fn every_shape_of_the_configuration_is_read_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    for shape in shapes::of("host-name = \"mail.contoso.com\"\n[log]\nlevel = \"debug\"\n") {
        fs::write(&path, &shape.bytes).unwrap();
        match (Config::load(&path), shape.several_lines) {
            (Ok(config), Reading::Meant) => {
                assert_eq!(
                    (config.host_name.as_str(), config.log.level.as_str()),
                    ("mail.contoso.com", "debug"),
                    "{}",
                    shape.name
                );
            }
            (Err(error), Reading::Named(words)) => {
                let error = error.to_string();
                assert!(error.contains(words) && error.contains("proxy.toml"), "{}: {error}", shape.name);
            }
            (_, Reading::Any) => {}
            (read, _) => panic!("{}: {:?}", shape.name, read.err()),
        }
    }
}
