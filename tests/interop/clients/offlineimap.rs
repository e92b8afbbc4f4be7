//! OfflineIMAP: IMAP in both directions, with each of its ways to log in, and through TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// OfflineIMAP has one status for everything that goes wrong.
const FAILED: i32 = 1;

const WITHOUT_TLS: &str = "ssl = no\nstarttls = no\n";
const WITH_TLS: &str = "ssl = yes\nsslcacertfile = listener-ca.pem\n";

/// One synchronisation of INBOX with a Maildir of that name. It goes to localhost, since OfflineIMAP finds no address in
/// a certificate.
async fn offlineimap(world: &World, name: &str, at: SocketAddr, how: &str, password: &str) -> Ran {
    let settings = format!(
        "[general]\naccounts = alice\nmetadata = {folder}-state\nsocktimeout = 60\n\
         [Account alice]\nlocalrepository = near\nremoterepository = far\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {folder}\n\
         [Repository far]\ntype = IMAP\nremotehost = localhost\nipv6 = no\nremoteport = {}\nremoteuser = {ALICE}\nremotepass = {password}\n\
         folderfilter = lambda name: name == 'INBOX'\n{how}",
        at.port(),
        folder = maildir(world, name).display(),
    );
    call(world, "offlineimap", &["-o", "-u", "basic", "-c", &private_file(world, "offlineimaprc", &settings)]).await
}

fn maildir(world: &World, name: &str) -> PathBuf {
    world.oxpost.folder().join(format!("offlineimap-{name}"))
}

fn stored(world: &World, name: &str) -> Vec<Vec<u8>> {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let inbox = maildir(world, name).join("INBOX");
    files(&inbox.join("new")).chain(files(&inbox.join("cur"))).map(|file| std::fs::read(file).unwrap()).collect()
}

async fn story(world: &World) {
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    let plain = format!("{WITHOUT_TLS}auth_mechanisms = PLAIN\n");
    let login = format!("{WITHOUT_TLS}auth_mechanisms = LOGIN\n");
    let tls = world.with_tls("IMAP", "Implicit").await;
    let ways = [("plain", world.imap(), plain.as_str()), ("login", world.imap(), &login), ("tls", tls, WITH_TLS)];
    for (name, at, how) in ways {
        offlineimap(world, name, at, how, &world.password).await.output().unwrap();
        let [came] = stored(world, name).try_into().unwrap();
        message::assert_same(&message::with_network_line_ends(&came), &went);
    }
    message::assert_same(&Curl::new(world).pop3().await.output().unwrap(), &went);

    // The other way: a message that was put into the folder is uploaded.
    let upload = "X-Uploaded: by OfflineIMAP\nFrom: alice@contoso.com\nSubject: from below\n\n.one dot\n";
    std::fs::write(maildir(world, "plain").join("INBOX/new/1.uploaded.test"), upload).unwrap();
    offlineimap(world, "plain", world.imap(), &plain, &world.password).await.output().unwrap();
    let second = Curl::new(world).imap_message(2).await.output().unwrap();
    let second = String::from_utf8_lossy(&second);
    assert!(second.contains("X-Uploaded: by OfflineIMAP\r\n") && second.ends_with("\r\n\r\n.one dot\r\n"), "{second}");

    for (name, at, how) in ways {
        assert_refused(world, FAILED, async |password: &str| offlineimap(world, name, at, how, password).await).await;
    }
}

super::cells!("offlineimap", story);
