//! curl again, through TLS: from the first byte, and begun by STLS and STARTTLS, in both versions of the protocol.

use super::{LOGIN_DENIED, assert_refused, call, message_file};
use crate::message;
use crate::world::{ALICE, World};
use oxpost_tests::harness::Ran;

async fn curl(world: &World, version: &[&str], password: &str, arguments: &[&str]) -> Ran {
    let credentials = format!("{ALICE}:{password}");
    // A STARTTLS that is not offered or fails is an error, and the certificate is checked.
    let common = [
        "-q",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--ssl-reqd",
        "--cacert",
        "listener-ca.pem",
        "--user",
        &credentials,
    ];
    call(world, "curl", &[&common, version, arguments].concat()).await
}

async fn story(world: &World) {
    let went = message::hard();
    let file = message_file(world, &went);
    let mut ways: Vec<Vec<String>> = Vec::new();
    for (tls, s) in [("StartTls", ""), ("Implicit", "s")] {
        let (smtp, imap) = (world.with_tls("SMTP", tls).await, world.with_tls("IMAP", tls).await);
        let pop3 = world.with_tls("POP3", tls).await;
        let send = ["--mail-from", ALICE, "--mail-rcpt", ALICE, "--upload-file", &file].map(str::to_owned);
        ways.push([vec![format!("smtp{s}://{smtp}")], send.to_vec()].concat());
        ways.push(vec![format!("imap{s}://{imap}/INBOX;MAILINDEX=1")]);
        ways.push(vec![format!("pop3{s}://{pop3}/1")]);
    }
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        for way in &ways {
            let arguments: Vec<&str> = way.iter().map(String::as_str).collect();
            let came = curl(world, &version, &world.password, &arguments).await.output().unwrap();
            if !arguments[0].starts_with("smtp") {
                message::assert_same(&came, &went);
            }
        }
    }
    for way in &ways {
        let arguments: Vec<&str> = way.iter().map(String::as_str).collect();
        let attempt = async |password: &str| curl(world, &[], password, &arguments).await;
        assert_refused(world, LOGIN_DENIED, attempt).await;
    }
}

super::cells!("curl", story);
