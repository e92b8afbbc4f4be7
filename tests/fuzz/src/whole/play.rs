//! Plays a script against the session of the real proxy, on one thread and with a clock that only goes when everybody waits.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxpost::testing::{Client, Devices, Listener, ListenerContext, ListenerTls, Protocol, ServerTls, serve};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::marks;
use super::script::{Peer, Script, Turn};
use super::wire::{Cut, Wire};
use super::world::{self, LIMITS, TOKENS, World};

/// How long everybody may wait for one another between two turns. Longer than what a wrong password waits for, and of an odd
/// length, so that no turn comes in the very moment in which a bound of the session is reached.
const A_MOMENT: Duration = Duration::from_millis(503);

const SOME_MOMENTS: Duration = Duration::from_millis(10_007);

const A_MINUTE: Duration = Duration::from_millis(60_013);

/// When every session has ended, counted from the last turn: each of its logins has its time, and so has the session.
const END_BOUND: Duration = Duration::from_secs(4 * 3600);

/// The longest of the bounds is this far from it.
const _: () = assert!(LIMITS.idle_timeout.as_secs() * 10 < END_BOUND.as_secs());

/// What came of it.
pub struct Outcome {
    pub client: Wire,
    /// The connections to the mail server, in order.
    pub servers: Vec<Wire>,
}

/// Plays it.
pub fn play(protocol: Protocol, script: &Script, cut: Cut) -> Outcome {
    thread_local!(static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() });
    RUNTIME.with(|runtime| {
        let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.get_or_init(paused).block_on(in_time(protocol, script, cut))
    })
}

async fn in_time(protocol: Protocol, script: &Script, cut: Cut) -> Outcome {
    let choice = script.choice;
    let world = World::get().await;
    let (client, facing_client) = Wire::new(cut);
    let dialled = Arc::new(Mutex::new(Vec::<Wire>::new()));
    let dial = {
        let (client, dialled) = (client.clone(), dialled.clone());
        Box::new(move |_: &_| {
            let may_login = choice.is_device() || marks::has_password(&client.taken());
            assert!(may_login, "the mail server is dialled, and no password was given");
            let (server, facing_server) = Wire::new(cut);
            server.opposite(&client);
            client.opposite(&server);
            let mut dialled = dialled.lock().unwrap_or_else(PoisonError::into_inner);
            dialled.push(server);
            if dialled.len() == 1 && choice.new_token() {
                world.have_token(TOKENS[1]);
            }
            facing_server
        })
    };
    let smtp_tls = if choice.server_starts_tls() { ServerTls::StartTls } else { ServerTls::Implicit };
    let context = world.context(smtp_tls, dial).await;
    let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let slot = context.runtime.slots.enter(peer).unwrap();
    let tls = if choice.client_may_start_tls() { ListenerTls::StartTls } else { ListenerTls::None };
    let listener = Listener {
        protocol,
        address: "192.0.2.1:143".parse().unwrap(),
        tls,
        certificate: None,
        tls_before_login: choice.client_must_start_tls(),
        networks: Vec::new(),
        devices: choice.is_device().then(|| world::device(choice.replaces_senders())).into_iter().collect(),
        lines: Default::default(),
    };
    let devices = Devices::new(&listener.devices);
    let listener = Arc::new(ListenerContext { config: listener, acceptor: None, devices });
    let stranger = Client { stream: facing_client, id: "000001".into(), peer, slot };
    let mut session = tokio::spawn(serve(context, listener, stranger));
    let mut peers = Peers {
        client: client.clone(),
        dialled: dialled.clone(),
        waiting: VecDeque::new(),
        by_line: protocol == Protocol::Smtp,
    };
    sleep(A_MOMENT).await;
    for turn in &script.turns {
        peers.act(turn);
        sleep(if *turn == Turn::AMinute { A_MINUTE } else { A_MOMENT }).await;
        while peers.server_goes_on() {
            sleep(A_MOMENT).await;
        }
    }
    if choice.client_closes_at_last() {
        client.close();
    }
    if choice.server_closes_at_last() {
        peers.server(&Turn::Closes(Peer::Server));
    }
    let ended = timeout(END_BOUND, async {
        while !peers.waiting.is_empty() {
            if let Ok(ended) = timeout(SOME_MOMENTS, &mut session).await {
                return ended;
            }
            // One that is dialled only now, or read.
            peers.server_goes_on();
        }
        session.await
    });
    ended.await.expect("the session goes on for ever").expect("the session ends in order");
    // What it has set going ends too.
    sleep(A_MOMENT).await;
    let servers = dialled.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(client.is_dropped() && servers.iter().all(Wire::is_dropped), "a connection outlives its session");
    Outcome { client, servers }
}

struct Peers {
    client: Wire,
    dialled: Arc<Mutex<Vec<Wire>>>,
    /// What the server does when there is a connection to it.
    waiting: VecDeque<Turn>,
    by_line: bool,
}

impl Peers {
    fn act(&mut self, turn: &Turn) {
        match turn {
            Turn::Says(Peer::Client, bytes) => self.client.say(bytes),
            Turn::Closes(Peer::Client) => self.client.close(),
            Turn::Breaks(Peer::Client) => self.client.reset(),
            Turn::TurnsAway(Peer::Client) => self.client.turn_away(),
            Turn::TurnsAway(Peer::Server) => {
                if let Some(server) = self.live() {
                    server.turn_away();
                }
            }
            Turn::AMinute => {}
            of_the_server => self.waiting.push_back(of_the_server.clone()),
        }
    }

    /// The server does the next of what it has to do; `false` if there is nothing, or no session is connected to it.
    fn server_goes_on(&mut self) -> bool {
        let Some(server) = self.live() else { return false };
        // A peer that answers ahead of the question may do so because it was not read, or was not heard itself.
        if self.by_line && (server.is_turned_away() || !server.is_read()) {
            return false;
        }
        self.waiting.pop_front().is_some_and(|turn| self.server(&turn))
    }

    fn server(&mut self, turn: &Turn) -> bool {
        let Some(server) = self.live() else { return false };
        match turn {
            Turn::Says(_, bytes) => server.say(bytes),
            Turn::Closes(_) => server.close(),
            Turn::Breaks(_) => server.reset(),
            Turn::TurnsAway(_) | Turn::AMinute => {}
        }
        true
    }

    fn live(&self) -> Option<Wire> {
        let dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.last().filter(|server| server.is_live()).cloned()
    }
}
