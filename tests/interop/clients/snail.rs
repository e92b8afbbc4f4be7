//! s-nail, the mailx of many a cron job: it sends by SMTP, and reads by IMAP and by POP3; with TLS as well.

use oxpost_tests::harness::{Ran, run};

use super::{Curl, assert_refused, client, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// The message was not sent.
const NOT_SENT: i32 = 4;
/// The mailbox could not be opened.
const NOT_OPENED: i32 = 1;

/// The text of a message: dots and 8-bit octets, in lines that s-nail sends as they are (it encodes a text whose last line has no end).
const TEXT: &[u8] = b"Gr\xfc\xdfe\n.one dot\n..two dots\n...\n\n250 OK\n";

/// s-nail with these arguments; `{login}` in them becomes user name and password as a URL has them.
async fn snail(world: &World, settings: &str, arguments: &[&str], password: &str, input: &[u8]) -> Ran {
    let login = format!("{}:{password}", ALICE.replace('@', "%40"));
    let settings = format!(
        "set v15-compat=y from={ALICE} sendwait nosave\n\
         set ttycharset=iso-8859-1 sendcharsets=iso-8859-1 mime-encoding=8b\n\
         set tls-verify=strict tls-ca-no-defaults tls-ca-file=listener-ca.pem\n{}\n",
        settings.replace("{login}", &login)
    );
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("{login}", &login)).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = client(world, "s-nail", &[&["-:u"], arguments.as_slice()].concat());
    command.env("MAILRC", private_file(world, "mailrc", &settings));
    run(command, input).await.unwrap()
}

async fn send(world: &World, how: &str, password: &str) -> Ran {
    snail(world, how, &["-s", "from s-nail", ALICE], password, TEXT).await
}

/// Copies the first message into a file, an mbox.
async fn copy(world: &World, url: &str, file: &str, password: &str) -> Ran {
    let copy = format!("copy 1 {}", world.oxpost.folder().join(file).display());
    let starttls = if file.ends_with("-starttls") { "set imap-use-starttls pop3-use-starttls" } else { "" };
    let settings = format!("set imap-auth=login\n{starttls}");
    snail(world, &settings, &["-R", "-Y", &copy, "-Y", "xit", "-f", url], password, b"").await
}

async fn story(world: &World) {
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    let imap = format!("imap://{{login}}@{}/INBOX", world.imap());
    let pop3 = format!("pop3://{{login}}@{}", world.pop3());
    // With STARTTLS by settings of their own, with implicit TLS by another scheme.
    let [mut imap_tls, mut pop3_tls] = [Vec::new(), Vec::new()];
    for (tls, s) in [("StartTls", ""), ("Implicit", "s")] {
        let port = world.with_tls("IMAP", tls).await.port();
        imap_tls.push(format!("imap{s}://{{login}}@localhost:{port}/INBOX"));
        let port = world.with_tls("POP3", tls).await.port();
        pop3_tls.push(format!("pop3{s}://{{login}}@localhost:{port}"));
    }
    let readers = [
        ("imap", &imap),
        ("imap-starttls", &imap_tls[0]),
        ("imaps", &imap_tls[1]),
        ("pop3", &pop3),
        ("pop3-starttls", &pop3_tls[0]),
        ("pop3s", &pop3_tls[1]),
    ];
    for (file, url) in readers {
        copy(world, url, file, &world.password).await.output().unwrap();
        let came = std::fs::read(world.oxpost.folder().join(file)).unwrap();
        message::assert_same(&out_of_mbox(&came), &went);
    }

    let smtp = format!("set mta=smtp://{{login}}@{} smtp-config=", world.smtp());
    let port = world.with_tls("SMTP", "StartTls").await.port();
    let starttls = format!("set mta=smtp://{{login}}@localhost:{port} smtp-use-starttls smtp-config=plain");
    let port = world.with_tls("SMTP", "Implicit").await.port();
    let implicit = format!("set mta=smtps://{{login}}@localhost:{port} smtp-config=plain");
    let senders = [format!("{smtp}plain"), format!("{smtp}login"), starttls, implicit];
    let text = [b"\r\n\r\n", message::with_network_line_ends(TEXT).as_slice()].concat();
    for (number, how) in (2..).zip(&senders) {
        send(world, how, &world.password).await.output().unwrap();
        for came in [Curl::new(world).imap_message(number).await, Curl::new(world).pop3_message(number).await] {
            let came = came.output().unwrap();
            assert!(came.ends_with(&text), "{}", came.escape_ascii());
        }
    }

    for how in &senders {
        assert_refused(world, NOT_SENT, async |password: &str| send(world, how, password).await).await;
    }
    for (file, url) in readers {
        assert_refused(world, NOT_OPENED, async |password: &str| copy(world, url, file, password).await).await;
    }
}

/// The message in an mbox: behind the line that separates it from the one before, in front of the empty line that ends
/// it, and without what s-nail notes about it.
fn out_of_mbox(mbox: &[u8]) -> Vec<u8> {
    let mbox = message::with_network_line_ends(mbox);
    let (_, message) = mbox.split_at(mbox.iter().position(|&byte| byte == b'\n').expect("a line") + 1);
    let message = message.strip_suffix(b"\r\n").expect("an empty line");
    let lines = message.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| *line != b"Status: O\r\n").flatten().copied().collect()
}

super::cells!("s-nail", story);
