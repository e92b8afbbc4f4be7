//! swaks, which shows what happens in SMTP: both mechanisms, and several commands in one write.

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call, message_file};
use crate::message;
use crate::world::{ALICE, World};

/// "error during authentication"
const LOGIN_REFUSED: i32 = 28;

async fn swaks(world: &World, mechanism: &str, options: &[&str], password: &str, message: &[u8]) -> Ran {
    let common = format!(
        "--server {} --port {} --helo client.contoso.com --auth {mechanism} --auth-user {ALICE} --auth-password {password} \
         --from {ALICE} --to {ALICE} --data @{} --hide-informational --suppress-data",
        world.smtp().ip(),
        world.smtp().port(),
        message_file(world, message),
    );
    let common: Vec<&str> = common.split_whitespace().collect();
    call(world, "swaks", &[&common, options].concat()).await
}

async fn story(world: &World) {
    let ways: [(u32, &str, &[&str]); 3] = [(1, "PLAIN", &[]), (2, "LOGIN", &[]), (3, "PLAIN", &["--pipeline"])];
    for (number, mechanism, options) in ways {
        let went = message::hard();
        swaks(world, mechanism, options, &world.password, &went).await.output().unwrap();
        message::assert_same(&Curl::new(world).imap_message(number).await.output().unwrap(), &went);
        message::assert_same(&Curl::new(world).pop3_message(number).await.output().unwrap(), &went);
    }
    for (_, mechanism, options) in ways {
        let attempt = async |password: &str| swaks(world, mechanism, options, password, &message::hard()).await;
        assert_refused(world, LOGIN_REFUSED, attempt).await;
    }
}

super::cells!("swaks", story);
