//! Perl's Mail::IMAPClient, Net::IMAP::Simple, Net::POP3 and Net::SMTP, which many an older script is made of.

use std::net::SocketAddr;

use oxpost_tests::harness::{Ran, run};

use super::{assert_refused, client};
use crate::message;
use crate::world::{ALICE, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/clients/perl.pl");
const REFUSED: i32 = 67;

async fn perl(world: &World, what: &str, at: SocketAddr, password: &str, input: &[u8]) -> Ran {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    run(client(world, "perl", &[SCRIPT, what, &host, &port, ALICE, password, "listener-ca.pem"]), input).await.unwrap()
}

async fn story(world: &World) {
    let senders = [
        ("smtp-plain", world.smtp()),
        ("smtp-login", world.smtp()),
        ("smtp-starttls", world.with_tls("SMTP", "StartTls").await),
    ];
    let readers = [
        ("imapclient", world.imap()),
        ("imapclient-plain", world.imap()),
        ("imapclient-tls", world.with_tls("IMAP", "Implicit").await),
        ("imapsimple", world.imap()),
        ("pop3", world.pop3()),
        ("pop3-sasl", world.pop3()),
        ("pop3-stls", world.with_tls("POP3", "StartTls").await),
    ];
    let went: Vec<_> = senders.iter().map(|_| message::hard()).collect();
    for ((what, at), message) in senders.iter().zip(&went) {
        perl(world, what, *at, &world.password, message).await.output().unwrap();
    }
    for (number, message) in (1..).zip(&went) {
        let number = format!("{number}");
        for (what, at) in readers {
            let came = perl(world, what, at, &world.password, number.as_bytes()).await.output().unwrap();
            // Net::POP3 gives the lines as Perl has them, the IMAP modules as they came.
            let came = if what.starts_with("pop3") { message::with_network_line_ends(&came) } else { came };
            message::assert_same(&came, message);
        }
    }

    for (what, at) in senders.into_iter().chain(readers) {
        assert_refused(world, REFUSED, async |password: &str| perl(world, what, at, password, b"never").await).await;
    }
}

super::cells!("perl", story);
