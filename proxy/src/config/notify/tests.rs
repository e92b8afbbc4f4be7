use super::super::Config;
use super::*;

fn load(text: &str, header: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    write_private(&folder.path().join("header.txt"), header);
    std::fs::write(folder.path().join("alert"), "").unwrap();
    Config::load(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "proxy.toml"))
}

/// Its client secret is in a variable; `PATH` is one that is set everywhere.
const APPLICATION: &str = "\n[[application]]\nname = \"a\"\ntenant = \"contoso.com\"\nclient-id = \"c\"\n\
                           client-secret-environment = \"PATH\"\n";

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn webhook_and_command_are_taken() {
    let text = "[notify]\nwebhook = \"https://alerts.contoso.com/T0/secret-path\"\nwebhook-header-file = \"header.txt\"\n\
                command = [\"./alert\", \"two words\"]\nreminder = \"0s\"\nwarn-before = \"14d\"\n\
                [store]\nkey = \"environment:THE_KEY\"";
    let config = load(&format!("{text}{APPLICATION}"), "Authorization: Bearer s3cret\r\n").unwrap();
    assert!(!format!("{config:?}").contains("secret-path") && !format!("{config:?}").contains("s3cret"), "{config:?}");
    let notify = config.notify;
    let (name, value) = notify.webhook.unwrap().header.unwrap();
    assert_eq!((name.as_str(), value.reveal()), ("Authorization", b"Bearer s3cret".as_slice()));
    let command = notify.command.unwrap();
    assert!(Path::new(&command.program).is_absolute() && command.program.to_string_lossy().contains("alert"));
    assert_eq!(command.arguments, ["two words"]);
    assert_eq!(command.withheld, ["THE_KEY", "PATH"], "neither the key nor a client secret is inherited");
    assert_eq!((notify.reminder, notify.warn_before), (None, Duration::from_secs(14 * 24 * 3600)));
    for here in ["http://127.0.0.1:9/x", "http://localhost:9", "http://[::1]:9"] {
        assert!(load(&format!("[notify]\nwebhook = \"{here}\""), "").is_ok(), "{here}");
    }
}

#[test]
fn channel_that_cannot_be_used_is_refused_with_its_line() {
    let notify = |more: &str| format!("[notify]\n{more}\n");
    let webhook = "webhook = \"https://a.example\"\nwebhook-header-file = \"header.txt\"";
    for (text, header, line, words) in [
        (notify("webhook = \"http://alerts.contoso.com\""), "", 2, "https://"),
        (notify("webhook = \"alerts\""), "", 2, "not an address"),
        (notify("webhook = \"https://a:b@c.example\""), "", 2, "webhook-header-file"),
        (notify("webhook-header-file = \"header.txt\""), "A: b", 2, "a header needs a `webhook`"),
        (notify(webhook), "only-a-token", 3, "Authorization: Bearer"),
        (notify(webhook), "Two Words: x", 3, "one line"),
        (notify(webhook), "A: b\r\nC: d", 3, "one line"),
        (notify(&webhook.replace("header.txt", "none.txt")), "", 3, "none.txt"),
        (notify("command = []"), "", 2, "list of the program"),
        (notify("command = [\"./no-such\"]"), "", 2, "no program"),
        (notify("command = [\"mail -s oxpost me\"]"), "", 2, "string of its own"),
        (notify("reminder = \"5m\""), "", 2, "\"0s\" for none"),
        (notify("warn-before = \"10years\""), "", 2, "at most one year"),
        (notify("webhok = \"https://x\""), "", 2, "did you mean `webhook`"),
    ] {
        let error = load(&text, header).unwrap_err();
        assert!(error.contains(&format!("proxy.toml, line {line}:")) && error.contains(words), "{text}\n→ {error}");
        assert!(!error.contains("only-a-token"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_header_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("header.txt");
    write_private(&file, "Authorization: Bearer s3cret");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = header(&file).unwrap_err();
    assert!(error.contains("chmod"), "{error}");
}

#[test]
fn a_secret_ends_at_the_beginning_of_its_last_day() {
    assert_eq!(date("1970-01-02"), Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(24 * 3600)));
    for wrong in ["", "2027-6-30", "30.06.2027", "2027-13-01", "2027-06-30T00:00:00Z"] {
        assert!(date(wrong).unwrap_err().contains("2027-06-30"), "{wrong}");
    }
}
