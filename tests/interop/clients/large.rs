//! A message of 35 MB, as large as Exchange sends by default: up by SMTP, back by IMAP and POP3.

use super::{Curl, python::python};
use crate::message;
use crate::world::World;

/// What the matrix calls it.
const COLUMN: &str = "35-MB";

async fn by_curl(world: &World) {
    world.note(COLUMN);
    let went = message::large();
    Curl::new(world).send(&went).await.output().unwrap();
    message::assert_same(&Curl::new(world).imap().await.output().unwrap(), &went);
    message::assert_same(&Curl::new(world).pop3().await.output().unwrap(), &went);
}

async fn by_python(world: &World) {
    let ways = [("smtp", world.smtp()), ("imap", world.imap()), ("pop3", world.pop3())];
    world.note(COLUMN);
    let went = message::large();
    for (what, at) in ways {
        let came = python(world, (what, "plain", at), &world.password, &went).await.output().unwrap();
        if what != "smtp" {
            message::assert_same(&came, &went);
        }
    }
}

mod curl {
    super::super::cells!("curl", super::by_curl);
}

mod python_library {
    super::super::cells!("python", super::by_python);
}
