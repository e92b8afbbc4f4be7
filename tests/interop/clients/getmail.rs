//! getmail, which reads by IMAP and by POP3 and hands what it gets to a program; by IMAP through TLS, too.

use std::net::SocketAddr;

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// "credential/login error", and whatever else stops a mailbox.
const LOGIN_REFUSED: i32 = 127;

/// The name of the retriever, and what it needs besides.
const IMAP: (&str, &str) = ("SimpleIMAPRetriever", "");
const IMAP_TLS: (&str, &str) = ("SimpleIMAPSSLRetriever", "ca_certs = listener-ca.pem\n");
const POP3: (&str, &str) = ("SimplePOP3Retriever", "");

async fn getmail(world: &World, (retriever, more): (&str, &str), at: SocketAddr, password: &str) -> Ran {
    let folder = world.oxpost.folder().to_string_lossy();
    // It writes no Maildir as root, and runs no program either unless it is configured to.
    let settings = format!(
        "[retriever]\ntype = {retriever}\nserver = {}\nport = {}\nusername = {ALICE}\npassword = {password}\n{more}\
         [destination]\ntype = MDA_external\npath = /usr/bin/tee\narguments = (\"{folder}/{retriever}\",)\n\
         allow_root_commands = true\n\
         [options]\nread_all = true\ndelete = false\ndelivered_to = false\nreceived = false\nverbose = 0\n",
        at.ip(),
        at.port(),
    );
    let file = private_file(world, "getmailrc", &settings);
    call(world, "getmail", &["--getmaildir", &folder, "--rcfile", &file]).await
}

async fn story(world: &World) {
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    let tls = world.with_tls("IMAP", "Implicit").await;
    for (retriever, at) in [(IMAP, world.imap()), (IMAP_TLS, tls), (POP3, world.pop3())] {
        getmail(world, retriever, at, &world.password).await.output().unwrap();
        let came = std::fs::read(world.oxpost.folder().join(retriever.0)).unwrap();
        message::assert_same(&without_mark(&message::with_network_line_ends(&came)), &went);
    }

    for (retriever, at) in [(IMAP, world.imap()), (IMAP_TLS, tls), (POP3, world.pop3())] {
        assert_refused(world, LOGIN_REFUSED, async |password: &str| getmail(world, retriever, at, password).await)
            .await;
    }
}

/// getmail says in a header of its own which folder a message comes from.
fn without_mark(message: &[u8]) -> Vec<u8> {
    let lines = message.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| !line.starts_with(b"X-getmail-retrieved-from-mailbox: ")).flatten().copied().collect()
}

super::cells!("getmail", story);
