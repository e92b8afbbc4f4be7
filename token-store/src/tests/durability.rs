//! A process killed at any moment leaves a store that opens, with every token that it had reported as written.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::{fixture::Place, *};
use crate::store::RefreshToken;

/// Set for the child only.
const PATH: &str = "OXPOST_TEST_STORE_OF_A_CHILD";

const KILLS: usize = 20;

#[tokio::test]
async fn process_killed_while_it_writes_keeps_what_it_reported() {
    let place = Place::new();
    let path = place.path();
    let ann = mailbox("ann@contoso.com");
    let store = place.open().await;
    store.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    store.save_signed_in(&ann, &token_set("at-0", Some("0")), None, start()).await.unwrap();
    drop(store);
    let mut written = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::durability::the_child_that_writes", "--ignored", "--nocapture"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut reported = |count: usize| {
            let numbers =
                (&mut lines).map_while(Result::ok).filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
            numbers.take(count).last()
        };
        reported(1 + round * 3).unwrap();
        child.kill().unwrap();
        // What it had still reported before it died.
        let last = reported(usize::MAX).unwrap_or_default().max(written);
        child.wait().unwrap();

        let store = place.open().await;
        let stored = store.tokens(&ann).await.unwrap();
        let RefreshToken::Some(token) = stored.refresh else { panic!("round {round}: the refresh token is gone") };
        written = text(&token).parse().unwrap();
        assert!(written >= last, "round {round}: {last} was reported, {written} is stored");
        assert_eq!(text(&stored.access.unwrap().secret), format!("at-{written}"), "both tokens are of one refresh");
    }
    println!("{KILLS} kills, {written} refreshes written, none lost");
}

/// Not a test of its own: the process that the test above kills.
#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn the_child_that_writes() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = fixture::open(path.as_ref(), vault()).await.unwrap();
    let ann = mailbox("ann@contoso.com");
    loop {
        let stored = store.tokens(&ann).await.unwrap();
        let RefreshToken::Some(last) = &stored.refresh else { panic!("no refresh token") };
        let next = text(last).parse::<u64>().unwrap() + 1;
        let tokens = token_set(&format!("at-{next}"), Some(&next.to_string()));
        assert!(store.lease(&ann, &stored, "child").await.unwrap());
        assert!(store.save_refreshed(&ann, stored.version, "child", &tokens, None, start()).await.unwrap());
        println!("\nwrote {next}");
        std::io::stdout().flush().unwrap();
    }
}
