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
    let imap = format!("imaps://{}/INBOX;MAILINDEX=1", world.with_tls("IMAP", "Implicit").await);
    let pop3 = format!("pop3://{}/1", world.with_tls("POP3", "StartTls").await);
    let smtp = format!("smtp://{}", world.with_tls("SMTP", "StartTls").await);
    let went = message::hard();
    let file = message_file(world, &went);
    let send = [&smtp, "--mail-from", ALICE, "--mail-rcpt", ALICE, "--upload-file", &file];
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        curl(world, &version, &world.password, &send).await.output().unwrap();
        message::assert_same(&curl(world, &version, &world.password, &[&imap]).await.output().unwrap(), &went);
        message::assert_same(&curl(world, &version, &world.password, &[&pop3]).await.output().unwrap(), &went);
    }
    for arguments in [send.as_slice(), &[&imap], &[&pop3]] {
        assert_refused(world, LOGIN_DENIED, async |password: &str| curl(world, &[], password, arguments).await).await;
    }
}

super::cells!("curl+TLS", story);
