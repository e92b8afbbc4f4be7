//! A new key for a store, at any moment and on both engines.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    care::{assert_whole, fill},
    fixture::{self, Place},
    *,
};
use crate::{
    KeySource, StoreError,
    store::{
        RefreshToken,
        care::{RotateError, Rotated},
    },
};

/// Set for the child only: the store and its key file.
const STORE: &str = "OXPOST_TEST_STORE_OF_A_CHILD";
const KEY: &str = "OXPOST_TEST_KEY_OF_A_CHILD";

const KILLS: u64 = 30;

/// A store, and the folder of its key file.
struct Keyed {
    place: Place,
    folder: tempfile::TempDir,
}

impl Keyed {
    fn new() -> Self {
        Self { place: Place::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn source(&self) -> KeySource {
        KeySource::File(self.folder.path().join("oxpost.key"))
    }

    async fn open(&self) -> Result<Store, StoreError> {
        self.place.try_open(self.source().open()?.0).await
    }

    async fn filled(&self) -> Store {
        fill(self.open().await.unwrap()).await
    }

    async fn rotate(&self) -> Result<Rotated, RotateError> {
        fixture::rotate_key(&self.place.path(), &self.source()).await
    }

    async fn alone(&self) {
        fixture::alone(&self.place.path()).await;
    }
}

#[tokio::test]
async fn a_new_key_opens_everything_and_the_old_one_nothing() {
    let keyed = Keyed::new();
    let store = keyed.filled().await;
    let old = keyed.source().read().unwrap();
    let error = keyed.rotate().await.unwrap_err();
    assert!(error.to_string().contains("in use by") && error.to_string().contains("stop the service"), "{error}");
    assert_eq!(keyed.source().read().unwrap().keys(), 1, "the key file is as it was");
    drop(store);
    keyed.alone().await;

    let rotated = keyed.rotate().await.unwrap();
    assert_eq!((rotated.resumed, rotated.sealed, rotated.unreadable, rotated.old_key_removed), (false, 10, 0, true));
    assert_eq!(keyed.source().read().unwrap().keys(), 1);
    keyed.alone().await;
    assert_eq!(keyed.place.try_open(old).await.unwrap_err(), StoreError::WrongKey);
    assert_whole(&keyed.open().await.unwrap()).await;
}

#[tokio::test]
async fn a_value_that_does_not_open_is_counted_and_costs_the_others_nothing() {
    let keyed = Keyed::new();
    drop(keyed.filled().await);
    keyed.alone().await;
    keyed.place.meddle(
        "UPDATE token SET refresh_token = x'0102' WHERE mailbox = 'ben@contoso.com'",
        "UPDATE token SET refresh_token = decode('0102', 'hex') WHERE mailbox = 'ben@contoso.com'",
    );
    let rotated = keyed.rotate().await.unwrap();
    assert_eq!((rotated.sealed, rotated.unreadable), (9, 1));
    keyed.alone().await;
    let store = keyed.open().await.unwrap();
    let ann = store.tokens(&mailbox("ann@contoso.com")).await.unwrap();
    assert_eq!(ann.refresh, RefreshToken::Some(Secret::from("rt-ann@contoso.com")));
    assert_eq!(store.tokens(&mailbox("ben@contoso.com")).await.unwrap().refresh, RefreshToken::Unreadable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_changes_the_key_leaves_a_store_that_opens() {
    let keyed = Keyed::new();
    drop(keyed.filled().await);
    let (mut rotations, mut interrupted) = (0, 0);
    for round in 0..KILLS {
        keyed.alone().await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::new_key::the_child_that_changes_keys", "--ignored", "--nocapture"])
            .env(STORE, keyed.place.path())
            .env(KEY, keyed.folder.path().join("oxpost.key"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "rotated"), "the child changes keys");
        // Any moment will do; this only makes them different ones.
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        rotations += 1 + lines.filter(|line| line == "rotated").count();
        child.wait().unwrap();

        let keys = keyed.source().read().unwrap().keys();
        assert!((1..=2).contains(&keys), "round {round}: {keys} keys");
        interrupted += usize::from(keys == 2);
        keyed.alone().await;
        let store = keyed.open().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_whole(&store).await;
        drop(store);
    }
    keyed.alone().await;
    let last = keyed.rotate().await.unwrap();
    assert_eq!(last.unreadable, 0);
    assert_eq!(keyed.source().read().unwrap().keys(), 1);
    println!("{KILLS} kills in {rotations} changes of the key, {interrupted} between its two writes, nothing lost");
}

/// Not a test of its own: the process that the test above kills.
#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn the_child_that_changes_keys() {
    let (Some(store), Some(key)) = (std::env::var_os(STORE), std::env::var_os(KEY)) else { return };
    let (store, source) = (Path::new(&store), KeySource::File(PathBuf::from(key)));
    loop {
        fixture::alone(store).await;
        fixture::rotate_key(store, &source).await.unwrap();
        println!("\nrotated");
        std::io::stdout().flush().unwrap();
    }
}
