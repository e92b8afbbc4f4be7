//! The states of a token, as a client sees them: not at all, until a person has to act.

use std::time::Duration;

use oxpost_tests::office365::behaviour::TokenFault;

use crate::clients::{Curl, LOGIN_DENIED};
use crate::message;
use oxpost_tests::harness::eventually;

use crate::world::{ALICE, Kind, NOBODY_HOME, World};

/// Two tests for a story: one in front of each server.
macro_rules! in_front_of_both {
    ($name:ident, $story:path) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn in_front_of_dovecot() {
                $story($crate::world::Kind::Dovecot).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn in_front_of_exchange() {
                $story($crate::world::Kind::Exchange).await;
            }
        }
    };
}

in_front_of_both!(an_expired_token_is_refreshed_unseen, super::expired);
in_front_of_both!(a_token_that_the_server_refuses_is_refreshed_unseen, super::refused);
in_front_of_both!(a_revoked_sign_in_is_told_with_its_remedy_and_mended_without_a_restart, super::revoked);

async fn expired(server: Kind) {
    let mut world = World::prepare(server).await.unwrap();
    world.tenant.behave(|behaviour| behaviour.entra.token_lifetime = Duration::from_secs(1));
    world.sign_in().await;
    // The access token in the store is dead from here on, by every clock.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    world.tenant.behave(|behaviour| behaviour.entra.token_lifetime = Duration::from_mins(75));
    world.run().await;
    everything_works(&world).await;
    assert!(refreshes(&world) >= 1, "{:?}", world.tenant.token_requests());
}

async fn refused(server: Kind) {
    let mut world = World::prepare(server).await.unwrap();
    // The sign-in brings a token that looks good for 75 minutes, and that the server does not take.
    world.tenant.behave(|behaviour| behaviour.entra.fault = Some(TokenFault::UselessToken));
    world.sign_in().await;
    world.tenant.behave(|behaviour| behaviour.entra.fault = None);
    assert_eq!(refreshes(&world), 0);
    world.run().await;
    everything_works(&world).await;
    assert_eq!(refreshes(&world), 1, "{:?}", world.tenant.token_requests());
}

async fn revoked(server: Kind) {
    let world = World::start(server).await;
    everything_works(&world).await;

    world.revoke().await;
    for ran in [Curl::new(&world).imap().await, Curl::new(&world).pop3().await, Curl::new(&world).send(b"never").await]
    {
        assert_eq!(ran.status, Some(LOGIN_DENIED), "{ran}");
        let remedy = format!("oxpost sign-in {ALICE}");
        assert!(ran.text().contains(&remedy), "the refusal does not name `{remedy}`: {ran}");
    }
    let status = world.oxpost.call(&["status"]).await.unwrap().report().unwrap();
    assert!(status.contains("sign in again"), "{status}");

    world.forgive().await;
    world.sign_in().await;
    eventually("a login after the new sign-in", async || {
        (Curl::new(&world).imap().await.status == Some(0)).then_some(())
    })
    .await;
    everything_works(&world).await;
    let status = world.oxpost.call(&["status"]).await.unwrap().report().unwrap();
    assert!(!status.contains("sign in again"), "{status}");
}

/// The trap of Dovecot: the token is good, the mailbox does not exist, and the connection just ends. The client must be
/// answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn disconnect_after_a_good_token_is_reported_to_the_client() {
    let mut world = World::prepare(Kind::Dovecot).await.unwrap();
    let password = world.oxpost.add_account(NOBODY_HOME, &[]).await.unwrap();
    world.oxpost.sign_in(NOBODY_HOME, &world.tenant, NOBODY_HOME).await.unwrap();
    world.run().await;
    let curl = Curl::of(&world, NOBODY_HOME, &password);
    let imap = curl.imap().await;
    assert!(imap.text().contains(" NO "), "{imap}");
    let pop3 = curl.pop3().await;
    assert!(pop3.text().contains("< -ERR "), "{pop3}");
    let smtp = curl.send(b"never").await;
    assert!(smtp.text().contains("< 454 ") || smtp.text().contains("< 535 "), "{smtp}");
    assert!([imap, pop3, smtp].iter().all(|ran| ran.status == Some(LOGIN_DENIED)));
}

async fn everything_works(world: &World) {
    let curl = Curl::new(world);
    let before = world.arrivals();
    curl.send(&message::hard()).await.output().unwrap();
    curl.imap().await.output().unwrap();
    curl.pop3().await.output().unwrap();
    assert!(world.arrivals() >= before + 3);
}

fn refreshes(world: &World) -> usize {
    world.tenant.token_requests().iter().filter(|request| request.grant_type == "refresh_token").count()
}
