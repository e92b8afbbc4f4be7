//! fetchmail, which reads by IMAP and by POP3 and hands what it gets to a program.

use std::net::SocketAddr;

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// PS_AUTHFAIL
const LOGIN_REFUSED: i32 = 3;

async fn fetchmail(world: &World, protocol: &str, at: SocketAddr, password: &str) -> Ran {
    let settings = format!(
        "set no bouncemail\nset no spambounce\nset invisible\n\
         poll {} protocol {protocol} port {} auth password\n\
         username \"{ALICE}\" password \"{password}\" is \"alice\" here\n\
         sslproto '' fetchall keep no rewrite no mimedecode pass8bits mda \"cat >{}\"\n",
        at.ip(),
        at.port(),
        world.oxpost.folder().join(protocol).display(),
    );
    let file = private_file(world, "fetchmailrc", &settings);
    let pid = world.oxpost.folder().join("fetchmail.pid");
    call(world, "fetchmail", &["--fetchmailrc", &file, "--pidfile", &pid.to_string_lossy(), "--nosyslog"]).await
}

async fn story(world: &World) {
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    for (protocol, at) in [("IMAP", world.imap()), ("POP3", world.pop3())] {
        fetchmail(world, protocol, at, &world.password).await.output().unwrap();
        let came = std::fs::read(world.oxpost.folder().join(protocol)).unwrap();
        message::assert_same(&message::with_network_line_ends(&came), &went);
    }

    for (protocol, at) in [("IMAP", world.imap()), ("POP3", world.pop3())] {
        assert_refused(world, LOGIN_REFUSED, async |password: &str| fetchmail(world, protocol, at, password).await)
            .await;
    }
}

super::cells!("fetchmail", story);
