//! mutt, which sends by SMTP and reads by IMAP and by POP3. It reads at a terminal only: script (of util-linux) is one.

use oxpost_tests::harness::{Ran, run};

use super::{Curl, assert_refused, call, client, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// "Could not send the message."
const NOT_SENT: i32 = 1;

/// The text of a message: dots and 8-bit octets.
const TEXT: &[u8] = b"Gr\xfc\xdfe\n.one dot\n..two dots\n.\n...\n\n250 OK\nno end of line";

/// The settings that are common to everything, and those of this time.
fn settings(world: &World, more: &str, password: &str) -> String {
    // Without a folder it asks immediately whether to create one.
    let settings = format!(
        "set folder=\"{folder}\"\n\
         set from={ALICE} use_from=yes envelope_from_address={ALICE} copy=no realname=Alice\n\
         set smtp_pass=\"{password}\" imap_user={ALICE} imap_pass=\"{password}\" pop_user={ALICE} pop_pass=\"{password}\"\n\
         set certificate_file=listener-ca.pem\n\
         set mbox_type=Maildir confirmappend=no confirmcreate=no delete=no quit=yes wait_key=no sleep_time=0\n\
         set charset=iso-8859-1 send_charset=iso-8859-1 allow_8bit=yes\n\
         my_hdr X-Begin: mutt\n{more}\n",
        folder = world.oxpost.folder().display(),
    );
    private_file(world, "muttrc", &settings)
}

const NO_TLS: &str = "set ssl_starttls=no ssl_force_tls=no";
const TLS: &str = "set ssl_starttls=yes ssl_force_tls=yes";

async fn send(world: &World, how: &str, password: &str) -> Ran {
    let file = settings(world, how, password);
    run(client(world, "mutt", &["-n", "-F", &file, "-s", "from mutt", ALICE]), TEXT).await.unwrap()
}

/// Copies the first message into a Maildir of that name, by keys that mutt finds in its settings.
async fn copy(world: &World, url: &str, how: &str, name: &str, password: &str) -> Ran {
    let folder = world.oxpost.folder().join(name);
    let keys = format!("push \"<first-entry><copy-message>{}<enter><exit>\"", folder.display());
    let file = settings(world, &format!("{how}\n{keys}"), password);
    let mutt = format!("mutt -n -F {file} -f {url}");
    let mut command = client(world, "script", &["--quiet", "--return", "--command", &mutt, "/dev/null"]);
    // Were mutt missing, script would only say so at the terminal.
    oxpost_tests::harness::find("mutt").unwrap();
    command.env("TERM", "xterm");
    run(command, b"").await.unwrap()
}

fn stored(world: &World, name: &str) -> Vec<Vec<u8>> {
    let folder = world.oxpost.folder().join(name);
    let folders = [folder.join("new"), folder.join("cur")];
    let entries = folders.iter().flat_map(std::fs::read_dir).flatten();
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

async fn story(world: &World) {
    let version = call(world, "mutt", &["-v"]).await.output().unwrap();
    let version = String::from_utf8_lossy(&version);
    assert!(["+USE_IMAP", "+USE_POP", "+USE_SMTP"].iter().all(|part| version.contains(part)), "{version}");

    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    let imap = format!("imap://{}/INBOX", world.imap());
    let imaps = format!("imaps://localhost:{}/INBOX", world.with_tls("IMAP", "Implicit").await.port());
    let pop3 = format!("pop://{}", world.pop3());
    let stls = format!("pop://localhost:{}", world.with_tls("POP3", "StartTls").await.port());
    let login = format!("{NO_TLS} imap_authenticators=login pop_authenticators=user");
    let plain = format!("{NO_TLS} imap_authenticators=plain pop_authenticators=plain");
    let readers = [
        ("imap-login", &imap, login.as_str()),
        ("imap-plain", &imap, &plain),
        ("imaps", &imaps, TLS),
        ("pop3-user", &pop3, &login),
        ("pop3-plain", &pop3, &plain),
        ("pop3-stls", &stls, TLS),
    ];
    for (name, url, how) in readers {
        let ran = copy(world, url, how, name, &world.password).await;
        let Ok([came]) = <[_; 1]>::try_from(stored(world, name)) else { panic!("{name}: nothing was stored: {ran}") };
        message::assert_same(&without_notes(&message::with_network_line_ends(&came)), &went);
    }

    let smtp = format!("set smtp_url=\"smtp://{ALICE}@{}\" {}", world.smtp(), &NO_TLS[4..]);
    let port = world.with_tls("SMTP", "StartTls").await.port();
    let senders = [
        format!("{smtp} smtp_authenticators=plain"),
        format!("{smtp} smtp_authenticators=login"),
        format!("{TLS} smtp_url=\"smtp://{ALICE}@localhost:{port}\""),
    ];
    let text = [b"\r\n\r\n", message::with_network_line_ends(TEXT).as_slice()].concat();
    for (number, how) in (2..).zip(&senders) {
        send(world, how, &world.password).await.output().unwrap();
        for came in [Curl::new(world).imap_message(number).await, Curl::new(world).pop3_message(number).await] {
            let came = came.output().unwrap();
            assert!(came.strip_suffix(b"\r\n").unwrap_or(&came).ends_with(&text), "{}", came.escape_ascii());
        }
    }

    for how in &senders {
        assert_refused(world, NOT_SENT, async |password: &str| send(world, how, password).await).await;
    }
    for (name, url, how) in readers {
        // It says so at the terminal, and goes on without a mailbox to its ordinary end.
        let name = format!("{name}-refused");
        assert_refused(world, 0, async |password: &str| copy(world, url, how, &name, password).await).await;
        assert!(stored(world, &name).is_empty());
    }
}

/// mutt notes in headers of its own how long a message is.
fn without_notes(message: &[u8]) -> Vec<u8> {
    let is_note = |line: &[u8]| line.starts_with(b"Content-Length: ") || line.starts_with(b"Lines: ");
    message.split_inclusive(|&byte| byte == b'\n').filter(|line| !is_note(line)).flatten().copied().collect()
}

super::cells!("mutt", story);
