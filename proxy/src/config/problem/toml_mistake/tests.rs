//! Mistakes, and the sentence for each.

use std::path::Path;

use super::super::ConfigError;
use crate::config::file::File;

/// The line and the sentence for a text that cannot be read.
fn explained(text: &str) -> String {
    let error = toml::from_str::<File>(text).expect_err(text);
    ConfigError::from_toml(Path::new("proxy.toml"), text, &error).to_string()
}

#[test]
fn each_mistake_has_its_line_and_what_to_write() {
    let listener = |line: &str| format!("[[listener]]\nprotocol = \"imap\"\n{line}\n");
    for (text, line, words) in [
        ("[[listener]]\nprotocol = imap\n".to_owned(), 2, "`protocol` has no quotes. Write `protocol = \"imap\"`"),
        ("[log]\nlevel = warn # less\n".into(), 2, "`level = \"warn\"`"),
        ("[limits]\nidle-timeout = 30s\n".into(), 2, "`idle-timeout = \"30s\"`"),
        (listener("address = 127.0.0.1:1143"), 3, "`address = \"127.0.0.1:1143\"`"),
        (listener("networks = [10.0.0.0/8, \"fd00::/8\"]"), 3, "`networks = [\"10.0.0.0/8\", \"fd00::/8\"]`"),
        (listener("networks = 10.0.0.0/8"), 3, "`networks = \"10.0.0.0/8\"`"),
        (listener("networks = [\"10.0.0.0/8\" \"fd00::/8\"]"), 3, "a comma is missing in the list of `networks`"),
        (listener("networks = [\"10.0.0.0/8\""), 3, "`networks = [\"10.0.0.0/8\"]`"),
        (listener("allow-plaintext = yes"), 3, "`allow-plaintext = true`"),
        (listener("allow-plaintext = False"), 3, "`allow-plaintext = false`"),
        (listener("address ="), 3, "`address` has no value"),
        (listener("address: \"127.0.0.1:1143\""), 3, "separated by `=`"),
        (listener("address = \"127.0.0.1:1143"), 3, "the closing quote of `address` is missing"),
        (listener("address = \"127.0.0.1\":1143"), 3, "more after the closing quote of `address`"),
        (listener("certificate = C:\\Oxpost\\x.pem"), 3, r"`certificate = 'C:\Oxpost\x.pem'`"),
        (listener("certificate = \"C:\\Oxpost\\x.pem\""), 3, r"`certificate = 'C:\Oxpost\x.pem'`"),
        (listener("certificate = \"C:\\Users\\x.pem\""), 3, "begins an escape"),
        (listener("address = “127.0.0.1:1143”"), 3, "straight ones: `address = \"127.0.0.1:1143\"`"),
        (listener("address = ‘127.0.0.1:1143’"), 3, "typographic quotes"),
        (listener("“address” = \"127.0.0.1:1143\""), 3, "`address = \"127.0.0.1:1143\"`"),
        (listener("address\u{a0}= \"127.0.0.1:1143\""), 3, "an invisible character (U+00A0)"),
        (listener("\u{feff}address = \"127.0.0.1:1143\""), 3, "U+FEFF"),
        ("[log]\nlevel = \"info\"\n[store]\n[log]\n".into(), 4, "[log] is there twice, first in line 1"),
        ("[log]\nlevel = \"info\"\nlevel = \"warn\"\n".into(), 3, "the key `level` is there twice, first in line 2"),
        ("host-name = \"a\"\n[log]\n[limits]\n[[limits]]\n".into(), 4, "the section [[limits]] is [limits] in line 3"),
        ("[[listener]]\n[listener]\n".into(), 2, "[[listener]] if there can be several"),
        ("[[listener]\nprotocol = \"imap\"\n".into(), 1, "Write [[listener]]."),
        ("[log\nlevel = \"info\"\n".into(), 1, "Write [log]."),
        ("[log] level = \"info\"\n".into(), 1, "a line of its own"),
        ("; comment\n".into(), 1, "a comment begins with #"),
        ("// comment\n".into(), 1, "a comment begins with #"),
        ("{ \"log\": {} }\n".into(), 1, "JSON"),
        ("[log]\nverbose\n".into(), 2, "neither a section"),
        // Valid TOML of another shape.
        ("[listener]\nprotocol = \"imap\"\n".into(), 1, "Write [[listener]]"),
        ("[[log]]\nlevel = \"info\"\n".into(), 1, "Write [log]"),
        ("[limits]\nmax-connections = \"10\"\n".into(), 2, "expected a number without quotes"),
        ("[log]\nlevel = 3\n".into(), 2, "expected text in quotes"),
        (listener("allow-plaintext = \"true\""), 3, "expected true or false without quotes"),
        (listener("networks = \"10.0.0.0/8\""), 3, "expected a list, [\"…\"]"),
    ] {
        let error = explained(&text);
        assert!(error.starts_with(&format!("proxy.toml, line {line}: ")) && error.contains(words), "{text}\n→ {error}");
        for jargon in ["inf`", "literal string", "usize", "struct", "sequence"] {
            assert!(!error.contains(jargon), "{error}");
        }
    }
}

#[test]
fn value_that_may_be_secret_is_not_shown() {
    for text in [
        "[[account]]\nmailbox = \"a@contoso.com\"\npassword-hash = $argon2id$hunter2\n",
        "[[account]]\npassword-hash = “hunter2”\n",
        "[[account]]\npassword-hash = \"hunter2\n",
        "[[account]]\npassword-hash = \"\\hunter2\"\n",
        "[[account]]\n“password” = hunter2\n",
        "[[application]]\nclient-secret-file = hunter2\n",
        "[notify]\nwebhook = https://alerts.contoso.com/hunter2\n",
        "[store]\npostgres = postgresql://oxpost:hunter2@db/oxpost\n",
        "[store]\nhunter2\n",
        "hunter2: x\n",
        "[log]\nsecret = hunter2\nsecret = hunter2\n",
    ] {
        let error = explained(text);
        assert!(!error.contains("hunter2") || text.starts_with("hunter2:"), "{text}\n→ {error}");
    }
}
