//! curl, for all three protocols. It also helps those out that speak only some of them.

use oxpost_tests::harness::Ran;

use super::{assert_refused, call, message_file};
use crate::message;
use crate::world::{ALICE, World};

/// "The remote server denied curl to login"
pub const LOGIN_DENIED: i32 = 67;

/// curl with somebody's user name and password.
pub struct Curl<'a> {
    world: &'a World,
    credentials: String,
    options: Vec<&'a str>,
}

impl<'a> Curl<'a> {
    /// Alice's.
    pub fn new(world: &'a World) -> Self {
        Self::with_password(world, &world.password)
    }

    /// Alice's user name with any password.
    pub fn with_password(world: &'a World, password: &str) -> Self {
        Self::of(world, ALICE, password)
    }

    /// Anybody's.
    pub fn of(world: &'a World, user: &str, password: &str) -> Self {
        Self { world, credentials: format!("{user}:{password}"), options: Vec::new() }
    }

    fn mechanism(mut self, mechanism: &'a str) -> Self {
        self.options.extend(["--login-options", mechanism]);
        self
    }

    /// Sends a message to Alice.
    pub async fn send(&self, message: &[u8]) -> Ran {
        let url = format!("smtp://{}", self.world.running().smtp);
        let file = message_file(self.world, message);
        self.call(&[&url, "--mail-from", ALICE, "--mail-rcpt", ALICE, "--upload-file", &file]).await
    }

    /// Fetches the first message.
    pub async fn imap(&self) -> Ran {
        self.imap_message(1).await
    }

    /// Fetches a message by its number.
    pub async fn imap_message(&self, number: u32) -> Ran {
        self.call(&[&format!("imap://{}/INBOX;MAILINDEX={number}", self.world.running().imap)]).await
    }

    /// Fetches the first message.
    pub async fn pop3(&self) -> Ran {
        self.pop3_message(1).await
    }

    /// Fetches a message by its number.
    pub async fn pop3_message(&self, number: u32) -> Ran {
        self.call(&[&format!("pop3://{}/{number}", self.world.running().pop3)]).await
    }

    async fn call(&self, arguments: &[&str]) -> Ran {
        // -q comes first: no .curlrc. What the server says goes to standard error.
        let common = ["-q", "--silent", "--show-error", "--verbose", "--noproxy", "*", "--user", &self.credentials];
        call(self.world, "curl", &[&common, self.options.as_slice(), arguments].concat()).await
    }
}

async fn story(world: &World) {
    // Where it helps others out it is not the client of the story.
    for way in ["SMTP", "IMAP", "POP3"] {
        world.note(way);
    }
    let went = message::hard();
    Curl::new(world).send(&went).await.output().unwrap();
    for mechanism in ["AUTH=PLAIN", "AUTH=LOGIN", "AUTH=*"] {
        let came = Curl::new(world).mechanism(mechanism).imap().await.output().unwrap();
        message::assert_same(&came, &went);
    }
    for mechanism in ["AUTH=PLAIN", "AUTH=LOGIN", "AUTH=*"] {
        let came = Curl::new(world).mechanism(mechanism).pop3().await.output().unwrap();
        message::assert_same(&came, &went);
    }
    for mechanism in ["AUTH=PLAIN", "AUTH=LOGIN"] {
        Curl::new(world).mechanism(mechanism).send(&message::hard()).await.output().unwrap();
    }

    let wrong = |password: &str| Curl::with_password(world, password);
    assert_refused(world, LOGIN_DENIED, async |password: &str| wrong(password).send(b"never").await).await;
    assert_refused(world, LOGIN_DENIED, async |password: &str| wrong(password).imap().await).await;
    assert_refused(world, LOGIN_DENIED, async |password: &str| wrong(password).pop3().await).await;
}

super::cells!("curl", story);
