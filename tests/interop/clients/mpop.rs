//! mpop, which pipelines all POP3 commands where the server offers PIPELINING.

use oxpost_tests::harness::Ran;

use super::{Curl, assert_refused, call, private_file};
use crate::message;
use crate::world::{ALICE, World};

/// EX_NOPERM of sysexits.h
const LOGIN_REFUSED: i32 = 77;

async fn mpop(world: &World, mechanism: &str, password: &str) -> Ran {
    let maildir = world.oxpost.folder().join(mechanism);
    for part in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(maildir.join(part)).unwrap();
    }
    let settings = format!(
        "account default\nhost {}\nport {}\ntls off\nauth {mechanism}\nuser {ALICE}\npassword {password}\n\
         keep on\nonly_new off\nreceived_header off\nuidls_file {folder}/uidls-{mechanism}\ndelivery maildir {}\n",
        world.pop3().ip(),
        world.pop3().port(),
        maildir.display(),
        folder = world.oxpost.folder().display(),
    );
    call(world, "mpop", &["--file", &private_file(world, "mpoprc", &settings), "--quiet"]).await
}

async fn story(world: &World) {
    let went = [message::hard(), message::hard(), message::hard()];
    for message in &went {
        Curl::new(world).send(message).await.output().unwrap();
    }
    message::assert_same(&Curl::new(world).imap().await.output().unwrap(), &went[0]);
    for mechanism in ["user", "plain", "login"] {
        mpop(world, mechanism, &world.password).await.output().unwrap();
        let folder = world.oxpost.folder().join(mechanism).join("new");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let mut came: Vec<_> = files.map(|stored| message::with_network_line_ends(&stored)).collect();
        assert_eq!(came.len(), went.len());
        came.sort_by_key(|message| message::number(message));
        for (came, went) in came.iter().zip(&went) {
            message::assert_same(came, went);
        }
    }
    for mechanism in ["user", "plain"] {
        assert_refused(world, LOGIN_REFUSED, async |password: &str| mpop(world, mechanism, password).await).await;
    }
}

super::cells!("mpop", story);
