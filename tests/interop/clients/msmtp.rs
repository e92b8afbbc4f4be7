//! msmtp, the sendmail of many a server.

use oxpost_tests::harness::{Ran, run};

use super::{Curl, assert_refused, client, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// EX_NOPERM of sysexits.h
const LOGIN_REFUSED: i32 = 77;

async fn msmtp(world: &World, mechanism: &str, password: &str, message: &[u8]) -> Ran {
    let settings = format!(
        "account default\nhost {}\nport {}\ntls off\nauth {mechanism}\nuser {ALICE}\npassword {password}\nfrom {ALICE}\n",
        world.smtp().ip(),
        world.smtp().port(),
    );
    let file = private_file(world, "msmtprc", &settings);
    run(client(world, "msmtp", &["--file", &file, ALICE]), message).await.unwrap()
}

async fn story(world: &World) {
    for (number, mechanism) in [(1, "plain"), (2, "login")] {
        let went = message::hard();
        msmtp(world, mechanism, &world.password, &went).await.output().unwrap();
        message::assert_same(&Curl::new(world).imap_message(number).await.output().unwrap(), &went);
        message::assert_same(&Curl::new(world).pop3_message(number).await.output().unwrap(), &went);
    }
    for mechanism in ["plain", "login"] {
        assert_refused(world, LOGIN_REFUSED, async |password: &str| msmtp(world, mechanism, password, b"never").await)
            .await;
    }
}

super::cells!("msmtp", story);
