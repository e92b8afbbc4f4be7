//! mbsync (isync): IMAP in both directions.

use std::path::{Path, PathBuf};

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// mbsync has one status for everything that goes wrong.
const FAILED: i32 = 1;

async fn mbsync(world: &World, password: &str) -> Ran {
    let settings = format!(
        "IMAPAccount oxpost\nHost {}\nPort {}\nUser {ALICE}\nPass {password}\nSSLType None\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount oxpost\n\n\
         MaildirStore near\nPath {folder}/\nInbox {folder}/INBOX\n\n\
         Channel inbox\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync All\nSyncState *\n",
        world.imap().ip(),
        world.imap().port(),
        folder = maildir(world).display(),
    );
    call(world, "mbsync", &["--config", &private_file(world, "mbsyncrc", &settings), "--all"]).await
}

fn maildir(world: &World) -> PathBuf {
    world.oxpost.folder().join("maildir")
}

/// The messages of the INBOX in the file system.
fn stored(world: &World) -> Vec<Vec<u8>> {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let inbox = maildir(world).join("INBOX");
    files(&inbox.join("new")).chain(files(&inbox.join("cur"))).map(|file| std::fs::read(file).unwrap()).collect()
}

async fn story(world: &World) {
    std::fs::create_dir(maildir(world)).unwrap();
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    mbsync(world, &world.password).await.output().unwrap();
    let [came] = stored(world).try_into().unwrap();
    message::assert_same(&without_mark(&message::with_network_line_ends(&came)), &went);
    let came = Curl::new(world).pop3().await.output().unwrap();
    message::assert_same(&came, &went);

    // The other way: a message that was put into the folder is uploaded, as a Unix text.
    let uploaded = message::hard();
    let unix = String::from_utf8_lossy(&uploaded[..300]).replace("\r\n", "\n");
    std::fs::write(maildir(world).join("INBOX/new/1.uploaded.test"), unix.replace("Subject:", "X-Uploaded:")).unwrap();
    mbsync(world, &world.password).await.output().unwrap();
    let second = Curl::new(world).imap_message(2).await.output().unwrap();
    assert!(String::from_utf8_lossy(&second).contains("\r\nX-Uploaded: "), "{}", String::from_utf8_lossy(&second));

    assert_refused(world, FAILED, async |password: &str| mbsync(world, password).await).await;
}

/// mbsync marks each copy it makes by a header of its own, X-TUID.
fn without_mark(message: &[u8]) -> Vec<u8> {
    let lines = message.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| !line.starts_with(b"X-TUID: ")).flatten().copied().collect()
}

super::cells!("mbsync", story);
