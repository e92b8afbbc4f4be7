//! PHP's imap extension, which many a ticket system and web mailer is made of. It reads; curl sends.

use std::net::SocketAddr;

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call};
use crate::message;
use crate::world::{ALICE, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/clients/php.php");
const REFUSED: i32 = 67;

async fn php(world: &World, flags: &str, at: SocketAddr, password: &str) -> Ran {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    call(world, "php", &[SCRIPT, flags, &host, &port, ALICE, password]).await
}

async fn story(world: &World) {
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    // Its library trusts the authorities of the system and takes no others. Behind STARTTLS, that of Debian 12 offers nothing that
    // TLS 1.2 could be agreed on with (no signature algorithms): PHP needs implicit TLS, or none.
    let ways = [
        ("imap/notls", world.imap()),
        ("imap/ssl/novalidate-cert", world.with_tls("IMAP", "Implicit").await),
        ("pop3/notls", world.pop3()),
        ("pop3/ssl/novalidate-cert", world.with_tls("POP3", "Implicit").await),
    ];
    for (flags, at) in ways {
        message::assert_same(&php(world, flags, at, &world.password).await.output().unwrap(), &went);
    }
    for (flags, at) in ways {
        assert_refused(world, REFUSED, async |password: &str| php(world, flags, at, password).await).await;
    }
}

super::cells!("php", story);
