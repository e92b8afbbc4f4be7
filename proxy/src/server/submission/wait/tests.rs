//! Each limit by its name, and what ends a silence.

use super::*;

const CALM: Circumstances = Circumstances {
    command_timeout: Duration::from_secs(300),
    others_wait: false,
    closing: false,
    server_on_network: true,
};

const CLIENT: [ClientStage; 5] =
    [ClientStage::NextMessage, ClientStage::Envelope, ClientStage::Message, ClientStage::LoneDot, ClientStage::Quit];

const SERVER: [ServerStage; 8] = [
    ServerStage::Mail,
    ServerStage::Rcpt,
    ServerStage::Data,
    ServerStage::Chunk,
    ServerStage::FinalDot,
    ServerStage::Command,
    ServerStage::Quit,
    ServerStage::Unused,
];

fn client(stage: ClientStage) -> Awaited {
    Awaited::Input(Wait::Client(stage))
}

fn server(stage: ServerStage) -> Awaited {
    Awaited::Input(Wait::Server(stage))
}

fn seconds(awaited: Awaited, now: Circumstances) -> Option<u64> {
    limit(awaited, now).map(|limit| limit.as_secs())
}

#[test]
fn each_wait_has_its_limit() {
    let clients = |now| CLIENT.map(|stage| seconds(client(stage), now).unwrap());
    assert_eq!(clients(CALM), [300, 300, 300, 10, 60]);
    assert_eq!(clients(Circumstances { others_wait: true, ..CALM }), [5, 30, 300, 10, 60]);
    assert_eq!(clients(Circumstances { closing: true, ..CALM }), [300, 30, 300, 10, 60]);
    let brief = Circumstances { command_timeout: Duration::from_secs(2), others_wait: true, closing: true, ..CALM };
    assert_eq!(clients(brief), [2; 5]);
    assert_eq!(SERVER.map(|stage| seconds(server(stage), CALM).unwrap()), [300, 300, 120, 180, 600, 300, 10, 10]);
    assert_eq!(seconds(Awaited::Output(Peer::Client), CALM), Some(300));
    assert_eq!(seconds(Awaited::Output(Peer::Server), CALM), Some(180));
    assert_eq!(seconds(Awaited::Goodbye, CALM), Some(60));
}

#[test]
fn server_that_is_not_on_the_network_has_no_timeout() {
    let near = Circumstances { server_on_network: false, ..CALM };
    for awaited in SERVER.map(server).into_iter().chain([Awaited::Output(Peer::Server)]) {
        assert_eq!(limit(awaited, near), None, "{awaited:?}");
    }
    assert_eq!(seconds(client(ClientStage::NextMessage), near), Some(300));
    assert_eq!(seconds(Awaited::Output(Peer::Client), near), Some(300));
    assert_eq!(seconds(Awaited::Goodbye, near), Some(60));
}

#[test]
fn only_the_idle_make_room() {
    let crowded = Circumstances { others_wait: true, ..CALM };
    for stage in CLIENT {
        let idle = matches!(stage, ClientStage::NextMessage | ClientStage::Envelope);
        assert_eq!((is_idle(client(stage)), frees_slot(client(stage), crowded)), (idle, idle), "{stage:?}");
        assert!(!frees_slot(client(stage), CALM), "{stage:?}");
    }
    for awaited in SERVER.map(server).into_iter().chain([Awaited::Goodbye, Awaited::Output(Peer::Client)]) {
        assert!(!is_idle(awaited) && !frees_slot(awaited, crowded), "{awaited:?}");
    }
}

/// A clock, and what it is shown at which second.
struct Shown {
    clock: WaitClock,
    start: Instant,
    now: u64,
}

impl Shown {
    fn new() -> Self {
        let start = Instant::now();
        Self { clock: WaitClock::new(start), start, now: 0 }
    }

    /// After so many seconds.
    fn after(&mut self, seconds: u64, snapshot: Snapshot) -> u64 {
        self.now += seconds;
        self.clock.show(snapshot, self.start + Duration::from_secs(self.now));
        self.clock.waited().as_secs()
    }
}

fn snapshot(awaited: Awaited) -> Snapshot {
    Snapshot { awaited: Some(awaited), progress: Progress::default(), replies: 0, lone_dots: 0, taken: 0 }
}

/// A progress, made by a machine: there is no other way to one.
fn progressed() -> Progress {
    use oxpost_protocol::smtp::submission::{Options, Step, Submission};
    let mut machine = Submission::new(Options { host_name: "x".into(), extensions: Vec::new() });
    machine.receive(Peer::Client, b"MAIL FROM:<a@b.c>\r\n");
    let Step::Begin { .. } = machine.poll() else { panic!("{machine:?}") };
    machine.begin();
    let Step::Write(..) = machine.poll() else { panic!("{machine:?}") };
    machine.receive(Peer::Server, b"250 OK\r\n");
    let Step::Write(..) = machine.poll() else { panic!("{machine:?}") };
    machine.progress()
}

#[test]
fn silence_of_a_client_adds_up_until_progress() {
    let mut shown = Shown::new();
    let rest = snapshot(client(ClientStage::NextMessage));
    assert_eq!(shown.after(7, rest), 0, "nothing was waited for before");
    assert_eq!(shown.after(100, rest), 100);
    // A NOOP, which takes the server 50 s.
    assert_eq!(shown.after(10, snapshot(server(ServerStage::Command))), 0);
    assert_eq!(shown.after(50, Snapshot { replies: 1, ..rest }), 110);
    assert_eq!(shown.after(40, Snapshot { replies: 1, taken: 8, ..rest }), 150);
    assert_eq!(shown.clock.deadline(Duration::from_secs(300)), shown.start + Duration::from_secs(shown.now + 150));
    // A wait of our own does not count either.
    assert_eq!(shown.after(0, Snapshot { awaited: None, ..rest }), 0);
    assert_eq!(shown.after(90, rest), 150);
    let envelope = Snapshot { progress: progressed(), ..snapshot(client(ClientStage::Envelope)) };
    assert_eq!(shown.after(20, envelope), 0);
    assert_eq!(shown.after(20, envelope), 20);
    // It ends immediately where it had ended before.
    assert_eq!(shown.clock.deadline(Duration::from_secs(5)), shown.start + Duration::from_secs(shown.now));
}

#[test]
fn lone_dot_has_its_own_timeout() {
    let mut shown = Shown::new();
    let message = snapshot(client(ClientStage::Message));
    let dot = Snapshot { lone_dots: 1, ..snapshot(client(ClientStage::LoneDot)) };
    shown.after(0, message);
    assert_eq!(shown.after(100, dot), 0);
    assert_eq!(shown.after(6, dot), 6);
    assert_eq!(
        shown.after(3, Snapshot { lone_dots: 2, ..dot }),
        0,
        "another one, and what came between arrived with it"
    );
    assert_eq!(shown.after(5, message), 114);
}

#[test]
fn silence_of_a_server_begins_with_the_command() {
    let mut shown = Shown::new();
    let rcpt = snapshot(server(ServerStage::Rcpt));
    assert_eq!(shown.after(5, rcpt), 0);
    assert_eq!(shown.after(5, rcpt), 5);
    assert_eq!(shown.after(5, Snapshot { replies: 1, ..rcpt }), 0);
    assert_eq!(shown.after(9, Snapshot { replies: 1, ..rcpt }), 9);
    assert_eq!(shown.after(0, Snapshot { replies: 1, ..snapshot(server(ServerStage::Data)) }), 0);
    let takes = snapshot(Awaited::Output(Peer::Server));
    assert_eq!(shown.after(1, takes), 0);
    assert_eq!(shown.after(1, takes), 1);
    assert_eq!(shown.after(1, Snapshot { taken: 1, ..takes }), 0);
}
