//! The browser of this computer comes back by itself: a small listener at `http://localhost:PORT` takes the one redirect
//! that has our state (RFC 8252, 7.3).
//!
//! Other programs on this computer can reach the listener too. They do not know the state, so what they say is answered
//! and not believed, and the sign-in goes on waiting.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use oxpost_token_store::{BrowserSignIn, Redirect, begin_browser_sign_in};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::page::Browser;
use super::{ERROR_PAGE, Failed, SignIn, is_here};
use crate::platform;

/// How long a person may take, with a second factor and a password that must be looked up: as long as for a device code.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A browser opens a few concurrent connections. More wait until one has ended.
const CONNECTIONS: usize = 16;

/// Tries to find a port that is free for IPv4 and for IPv6.
const PORT_TRIES: usize = 20;

pub(super) async fn sign_in(sign_in: &SignIn<'_>, no_open: bool) -> Result<(), Failed> {
    let SignIn { http, store, application, account, clock } = sign_in;
    let (mailbox, name) = (&account.mailbox, sign_in.user_name().await?);
    let mut listener = Loopback::bind(application.redirect_uri.as_deref()).await.map_err(|error| {
        Failed::new(format!(
            "cannot listen for the browser on this computer: {error}. Use `oxpost sign-in {mailbox} --paste` instead"
        ))
    })?;
    let begun = begin_browser_sign_in(http, store, application, account, clock, &listener.redirect_uri).await?;
    if !no_open && platform::open_browser(begun.url.as_str()) {
        println!("To sign in {mailbox}, sign in as {name} in the browser that opens now.");
        println!("If none opens, open this address in a browser on this computer:\n");
    } else {
        println!("To sign in {mailbox}, open this address in a browser on this computer, and sign in as {name}:\n");
    }
    println!("  {}\n", begun.url);
    println!(
        "Waiting for up to {} minutes. Press Ctrl-C to cancel without changes. If the only browser is on another\n\
         computer, use `oxpost sign-in {mailbox} --paste` instead. {ERROR_PAGE}.",
        PATIENCE.as_secs() / 60
    );
    let Some((redirect, browser)) = listener.answer(&begun).await else {
        return Err(Failed::new(format!(
            "the sign-in was not finished within {} minutes, and nothing was changed. Run `oxpost sign-in {mailbox}` again.",
            PATIENCE.as_secs() / 60
        )));
    };
    // Answers reloads and second tabs.
    let late = tokio::spawn(listener.turn_away());
    let outcome = match begun.finish(redirect).await {
        Ok(signed_in) => sign_in.keep(&signed_in).await,
        Err(error) => Err(Failed::from(error)),
    };
    match &outcome {
        Ok(()) => {
            let text = format!("{mailbox} is signed in. You can close this page now.");
            browser.show("200 OK", "Signed in", &text).await;
        }
        Err(Failed { message, .. }) => {
            let text = format!("Oxpost says: {message}");
            browser.show("200 OK", "Not signed in", &text).await;
        }
    }
    late.abort();
    outcome
}

/// A listener on both loopback addresses: `localhost` is one or the other, as the browser likes.
pub(super) struct Loopback {
    pub(super) redirect_uri: String,
    arrivals: mpsc::Receiver<Browser>,
    _accepting: JoinSet<()>,
}

impl Loopback {
    /// Listens where the registration says, or at a free port of `http://localhost`: Entra ignores the port of localhost
    /// (<https://learn.microsoft.com/entra/identity-platform/reply-url#localhost-exceptions>).
    pub(super) async fn bind(registered: Option<&str>) -> io::Result<Self> {
        let registered = registered.filter(|uri| is_here(uri)).unwrap_or("http://localhost");
        let uri = Url::parse(registered).map_err(io::Error::other)?;
        let (port, listeners) = listen(uri.port().unwrap_or(0)).await?;
        // Not a `/` more than was registered.
        let end = if registered.ends_with('/') || uri.path() != "/" { uri.path() } else { "" };
        let redirect_uri = format!("http://{}:{port}{end}", uri.host_str().unwrap_or("localhost"));
        let (arrived, arrivals) = mpsc::channel(CONNECTIONS);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, uri.path().to_owned(), arrived.clone()));
        }
        Ok(Self { redirect_uri, arrivals, _accepting: accepting })
    }

    /// Waits for the redirect of this sign-in; none if it does not arrive in time.
    pub(super) async fn answer(&mut self, sign_in: &BrowserSignIn) -> Option<(Redirect, Browser)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let browser = timeout_at(until, self.arrivals.recv()).await.ok().flatten()?;
            match sign_in.read(&browser.query) {
                Ok(redirect) => return Some((redirect, browser)),
                Err(error) => {
                    println!("Ignored a page that does not belong to this sign-in: {error}. Still waiting.");
                    let text = format!(
                        "This page does not belong to the present sign-in: {error}. Close it. Oxpost still waits for the \
                         present sign-in."
                    );
                    tokio::spawn(async move {
                        browser.show("400 Bad Request", "Wrong page", &text).await;
                    });
                }
            }
        }
    }

    /// A code is redeemed once, so a second redirect is answered and not looked at.
    async fn turn_away(mut self) {
        while let Some(browser) = self.arrivals.recv().await {
            let text = "This sign-in is already finished. You can close this page.";
            browser.show("410 Gone", "Already done", text).await;
        }
    }
}

/// Listens on both addresses at the same port. A machine without IPv6 has the first alone.
async fn listen(wanted: u16) -> io::Result<(u16, Vec<TcpListener>)> {
    let mut tries = 0;
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).await?;
        let port = first.local_addr()?.port();
        match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
            Ok(second) => return Ok((port, vec![first, second])),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Ok((port, vec![first])),
            // Another program has the port there, and would be sent our code.
            Err(error) if wanted != 0 || tries >= PORT_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

async fn accept(listener: TcpListener, path: String, arrived: mpsc::Sender<Browser>) {
    let mut reading = JoinSet::new();
    loop {
        while reading.len() >= CONNECTIONS {
            reading.join_next().await;
        }
        // An error concerns one connection, or passes; a pause keeps it from becoming a busy loop.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while reading.try_join_next().is_some() {}
        let (path, arrived) = (path.clone(), arrived.clone());
        reading.spawn(async move {
            if let Some(browser) = Browser::read(stream, &path).await {
                let _ = arrived.send(browser).await;
            }
        });
    }
}
