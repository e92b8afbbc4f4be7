//! `oxpost check` fails if and only if `oxpost run` does not start, and with the same sentences.

use std::net::TcpListener;
use std::path::Path;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings, write_private};

use crate::story::tenant;

/// 32 bytes in base64.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

const BOB: &str = "bob@contoso.com";

/// Something that an administrator may get wrong.
struct Case {
    name: &'static str,
    /// Changes the text of proxy.toml.
    text: fn(&str) -> String,
    /// Changes the other files.
    files: fn(&Path),
    /// Words of each problem that must be named. None: nothing is wrong.
    words: &'static [&'static str],
}

const fn text(name: &'static str, text: fn(&str) -> String, words: &'static [&'static str]) -> Case {
    Case { name, text, files: |_| (), words }
}

const fn files(name: &'static str, files: fn(&Path), words: &'static [&'static str]) -> Case {
    Case { name, text: |text| text.to_owned(), files, words }
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    write_private(&path, "").unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A listener with TLS and these files.
fn with_tls(text: &str, certificate: &str, key: &str) -> String {
    format!(
        "{text}\n[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\ncertificate = \"{certificate}\"\n\
         private-key = \"{key}\"\n"
    )
}

fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn certificates(folder: &Path) {
    let ((certificate, key), (_, other)) = (pair(), pair());
    for (name, text) in [("a.crt", certificate), ("a.key", key), ("other.key", other)] {
        write(folder, name, text);
    }
}

/// The first `[[listener]]` at another address.
fn at(text: &str, address: &str) -> String {
    text.replacen("127.0.0.1:0", address, 1)
}

const CASES: [Case; 34] = [
    text("nothing", str::to_owned, &[]),
    text("a byte order mark and CRLF", |text| format!("\u{feff}{}", text.replace('\n', "\r\n")), &[]),
    text("a filter of the log", |text| text.replace("\"debug\"", "\"info,oxpost::server=debug\""), &[]),
    files(
        "UTF-16",
        |folder| {
            let text = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
            let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            std::fs::write(folder.join("proxy.toml"), wide).unwrap();
        },
        &["is UTF-16"],
    ),
    text("a value without quotes", |text| text.replacen("\"imap\"", "imap", 1), &["Write `protocol = \"imap\"`"]),
    text("an unknown key", |text| text.replace("[trust]", "[turst]"), &["did you mean `trust`?"]),
    text("no level of the log", |text| text.replace("\"debug\"", "\"warning\""), &["write `warn`"]),
    text(
        "a filter with one colon",
        |text| text.replace("\"debug\"", "\"info,oxpost:server=debug\""),
        &["single colon"],
    ),
    text(
        "no listener",
        |text| {
            let (before, rest) = text.split_once("[[listener]]").unwrap();
            format!("{before}[[provider]]{}", rest.split_once("[[provider]]").unwrap().1)
        },
        &["no [[listener]]"],
    ),
    text("one address twice", |text| text.replace("127.0.0.1:0", "127.0.0.1:49312"), &["give each its own port"]),
    text(
        "an address within another",
        |text| {
            let more = "[[listener]]\nprotocol = \"imap\"\naddress = \"0.0.0.0:49312\"\nallow-plaintext = true\nnetworks = [\"127.0.0.0/8\"]\n";
            format!("{}\n{more}", at(text, "127.0.0.1:49312"))
        },
        &["includes or is included in"],
    ),
    text("IPv4 in IPv6 form", |text| at(text, "[::ffff:127.0.0.1]:49312"), &["write \"127.0.0.1:49312\""]),
    text(
        "an address of another machine",
        |text| {
            let address = "192.0.2.1:49312\"\nallow-plaintext = true\nnetworks = [\"192.0.2.0/24\"]#";
            at(text, address)
        },
        &["cannot listen on 192.0.2.1:49312"],
    ),
    text("no certificate file", |text| with_tls(text, "none.crt", "none.key"), &["none.crt cannot be read"]),
    Case {
        name: "a certificate with its key",
        text: |text| with_tls(text, "a.crt", "a.key"),
        files: certificates,
        words: &[],
    },
    Case {
        name: "a key in place of a certificate",
        text: |text| with_tls(text, "a.key", "a.crt"),
        files: certificates,
        words: &["holds no certificate, but a private key"],
    },
    Case {
        name: "the key of another certificate",
        text: |text| with_tls(text, "a.crt", "other.key"),
        files: certificates,
        words: &["Check that `private-key` belongs to it"],
    },
    Case {
        name: "two problems",
        text: |text| with_tls(text, "none.crt", "none.key").replace("\"ca.pem\"", "\"none.pem\""),
        files: |_| (),
        words: &["none.crt cannot be read", "none.pem cannot be read"],
    },
    text("no certificate authority", |text| text.replace("\"ca.pem\"", "\"none.pem\""), &["none.pem cannot be read"]),
    files("a certificate authority that is a key", |folder| write(folder, "ca.pem", pair().1), &["but a private key"]),
    text("no client secret", |text| secret(text, "none.txt"), &["none.txt cannot be read"]),
    Case {
        name: "an empty client secret",
        text: |text| secret(text, "secret.txt"),
        files: |folder| write(folder, "secret.txt", "\r\n"),
        words: &["is empty"],
    },
    Case {
        name: "a client secret in quotes",
        text: |text| secret(text, "secret.txt"),
        files: |folder| write(folder, "secret.txt", "\"Aa1~value\"\n"),
        words: &["has quotes around"],
    },
    Case {
        name: "a client secret with a byte order mark",
        text: |text| secret(text, "secret.txt"),
        files: |folder| write(folder, "secret.txt", "\u{feff}Aa1~value\r\n"),
        words: &[],
    },
    text("no folder for the store", |text| store(text, "path = \"none/oxpost.db\""), &["cannot open the store"]),
    text(
        "a file in place of the folder",
        |text| store(text, "path = \"ca.pem/oxpost.db\""),
        &["cannot open the store"],
    ),
    text(
        "no folder for the key",
        |text| store(text, "key = \"file:none/oxpost.key\""),
        &["none/oxpost.key cannot be written"],
    ),
    text("no such source of a key", |text| store(text, "key = \"oxpost.key\""), &["names no source of a key"]),
    text("no such variable", |text| store(text, "key = \"environment:OXPOST_NONE\""), &["OXPOST_NONE is not set"]),
    text("a variable without a key", |text| store(text, "key = \"environment:PATH\""), &["does not hold a key"]),
    files("a key without its store", |folder| write(folder, "oxpost.key", KEY), &["is missing or empty"]),
    files(
        "a damaged store",
        |folder| {
            write(folder, "oxpost.key", KEY);
            write(folder, "oxpost.db", [b'x'; 8192]);
        },
        &["oxpost.db"],
    ),
    text("no such command", |text| format!("{text}\n[notify]\ncommand = [\"./none\"]\n"), &["there is no program"]),
    text(
        "no such application",
        |text| format!("{text}\n[[account]]\nmailbox = \"{BOB}\"\napplication = \"none\"\n"),
        &["none"],
    ),
];

fn secret(text: &str, file: &str) -> String {
    text.replace("[trust]", &format!("client-secret-file = \"{file}\"\n[trust]"))
}

fn store(text: &str, key: &str) -> String {
    format!("{text}\n[store]\n{key}\n")
}

/// The sentences of a refusal, without what is logged as JSON before them.
fn sentences(said: &str) -> Vec<String> {
    let said = said.split_once("oxpost: ").unwrap_or_else(|| panic!("no error in {said}")).1;
    said.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn check_fails_exactly_when_run_does_not_start() {
    let tenant = tenant().await;
    for case in &CASES {
        let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
        let file = oxpost.folder().join("proxy.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, (case.text)(&before)).unwrap();
        (case.files)(oxpost.folder());
        let names = || std::fs::read_dir(oxpost.folder()).unwrap().count();
        let files = names();
        let checked = oxpost.call(&["check"]).await.unwrap();
        if case.words.is_empty() {
            let checked = checked.said().unwrap();
            assert!(checked.contains("is valid"), "{}: {checked}", case.name);
            assert_eq!(names(), files, "{}: a check creates nothing", case.name);
            oxpost.run().await.unwrap_or_else(|error| panic!("{}: {error}", case.name)).stop().await.unwrap();
            continue;
        }
        let checked = checked.refusal().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let ran =
            oxpost.call(&["run"]).await.unwrap().refusal().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for words in case.words {
            assert!(checked.contains(words), "{}: {checked}", case.name);
        }
        assert_eq!(sentences(&checked), sentences(&ran), "{}", case.name);
    }
}

#[tokio::test]
async fn port_of_another_program_fails_and_of_own_service_does_not() {
    let tenant = tenant().await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let oxpost = Oxpost::new(&Settings { ports: [port, 0, 0], ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
    let checked = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    let line = format!("proxy.toml, line 7: cannot listen on 127.0.0.1:{port}");
    assert!(checked.contains(&line) && checked.contains("another port"), "{checked}");
    let ran = oxpost.call(&["run"]).await.unwrap().refusal().unwrap();
    assert_eq!(sentences(&checked), sentences(&ran));
    drop(other);
    let running = oxpost.run().await.unwrap();
    oxpost.call(&["check"]).await.unwrap().said().unwrap();
    running.stop().await.unwrap();
}

/// The service starts, because the other accounts work, and says the same in its log.
#[tokio::test]
async fn account_that_cannot_work_fails_check_and_is_logged_by_run() {
    let tenant = tenant().await;
    let settings = Settings { client_secret: Some("Aa1~value\n".into()), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.add_account(BOB, &["--grant", "client-credentials"]).await.unwrap();
    oxpost.call(&["check"]).await.unwrap().said().unwrap();
    let file = oxpost.folder().join("proxy.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let federated = "federated-token-file = \"none.token\"";
    for (after, words) in [
        (
            before.replace("name = \"default\"", "name = \"renamed\""),
            "cannot log in without it: alice@contoso.com, bob@contoso.com",
        ),
        (before.replace("client-secret-file = \"client-secret.txt\"", ""), "oxpost application secret default"),
        (before.replace("client-secret-file = \"client-secret.txt\"", federated), "none.token cannot be read"),
        (before.replace(tenant.id(), "common"), "bob@contoso.com: "),
    ] {
        std::fs::write(&file, after).unwrap();
        let checked = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
        assert!(checked.contains(words), "{words}: {checked}");
        let running = oxpost.run().await.unwrap();
        let log = running.stop().await.unwrap();
        for sentence in sentences(&checked) {
            let logged = serde_json::to_string(&sentence).unwrap();
            assert!(log.contains(logged.trim_matches('"')), "{sentence}\n→ {log}");
        }
    }
}

#[tokio::test]
async fn check_prints_json_for_scripts() {
    let oxpost = Oxpost::new(&Settings::of(&tenant().await, CLIENT_ID)).unwrap();
    let report = async || {
        let ran = oxpost.call(&["check", "--json"]).await.unwrap();
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        (ran.status, report)
    };
    let (status, valid) = report().await;
    assert_eq!((status, &valid["valid"], valid["problems"].as_array().unwrap().len()), (Some(0), &true.into(), 0));
    assert_eq!((&valid["listeners"][0]["protocol"], &valid["applications"][0]), (&"IMAP".into(), &"default".into()));
    let file = oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, with_tls(&text, "none.crt", "none.key")).unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    let line = written.lines().position(|line| line.contains("none.crt")).unwrap() + 1;
    let (status, wrong) = report().await;
    let problem = &wrong["problems"][0];
    assert_eq!((status, &wrong["valid"], &problem["concerns"]), (Some(1), &false.into(), &"service".into()));
    assert_eq!(problem["line"], line, "{wrong}");
    assert!(problem["message"].as_str().unwrap().contains("none.crt cannot be read"), "{wrong}");
    std::fs::write(&file, "[log").unwrap();
    let (status, broken) = report().await;
    assert_eq!(
        (status, &broken["problems"][0]["line"], &broken["listeners"]),
        (Some(1), &1.into(), &serde_json::json!([]))
    );
}
