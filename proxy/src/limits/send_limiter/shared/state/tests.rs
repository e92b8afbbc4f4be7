//! Who gets what, and what a report counts for.

use super::*;

const LIMITS: Limits = Limits { slots: 3, permits: 4, recipients: 10 };

/// The state, with nodes that report to it.
struct Play {
    state: State,
    nodes: Vec<String>,
    now: i64,
}

impl Play {
    fn of(nodes: &[&str]) -> Self {
        Self { state: State::default(), nodes: nodes.iter().map(|node| (*node).to_owned()).collect(), now: 0 }
    }

    /// As when it is written to the store and read again.
    fn tick(&mut self) {
        self.state = serde_json::from_str(&serde_json::to_string(&self.state).unwrap()).unwrap();
        self.state.tick(&self.nodes, self.now);
    }

    fn report(&mut self, node: &str, report: Report) -> Granted {
        self.tick();
        self.state.report(node, &report, LIMITS, self.now);
        self.state.granted(node, LIMITS, self.now)
    }

    /// So many are in use and wait, for clients that are connected.
    fn live(&mut self, node: &str, number: u64, ended: u32, in_use: u32, waiting: u32) -> u32 {
        let happened = Happened { ended: ByClass::new(ended, 0), ..Happened::default() };
        let report =
            Report { number, happened, in_use: ByClass::new(in_use, 0), waiting: ByClass::new(waiting, 0), permits: 0 };
        self.report(node, report).slots.of(Class::Live)
    }

    fn granted(&self, node: &str) -> Granted {
        self.state.granted(node, LIMITS, self.now)
    }
}

#[test]
fn slots_go_to_the_node_with_the_fewest() {
    let mut play = Play::of(&["a", "b"]);
    assert_eq!(play.live("a", 1, 0, 0, 5), 3);
    assert_eq!(play.live("b", 1, 0, 0, 2), 0);
    assert_eq!((play.granted("a").others_wait, play.granted("b").others_wait), (2, 2));
    // A slot of its own that ends goes to the other node, though some wait here.
    assert_eq!(play.live("a", 2, 1, 2, 2), 2);
    assert_eq!(play.granted("b").slots, ByClass::new(1, 0));
    // With as many each, the next one goes to the node that has waited for longer.
    play.now = 1;
    assert_eq!(play.live("a", 3, 1, 1, 2), 2);
    assert_eq!((play.granted("a").slots, play.granted("b").slots), (ByClass::new(2, 0), ByClass::new(1, 0)));
    play.now = 2;
    assert_eq!(play.live("a", 4, 1, 1, 2), 1);
    assert_eq!(play.granted("b").slots, ByClass::new(2, 0));
    // What no session waits for any more goes back.
    assert_eq!(play.live("b", 2, 0, 1, 0), 1);
    assert_eq!(play.granted("a").slots, ByClass::new(2, 0));
}

#[test]
fn report_that_comes_twice_counts_once() {
    let mut play = Play::of(&["a"]);
    let happened = Happened { used: 1, recipients: 4, refused: false, ..Happened::default() };
    let report = Report { number: 1, happened, ..Report::default() };
    play.report("a", report);
    let once = play.state.clone();
    play.report("a", report);
    assert_eq!(play.state, once);
    assert_eq!(play.live("a", 2, 0, 0, 3), 3);
    assert_eq!(play.live("a", 3, 2, 1, 0), 1);
    assert_eq!(play.live("a", 3, 2, 1, 0), 1);
}

#[test]
fn removed_node_frees_its_slots_and_its_permits_count() {
    let mut play = Play::of(&["a", "b"]);
    let wants = Report { number: 1, waiting: ByClass::new(3, 0), permits: 2, ..Report::default() };
    assert_eq!(play.report("a", wants).permits, [(super::super::window::USE_WITHIN, 2)]);
    assert_eq!(play.report("b", wants).slots, ByClass::new(0, 0));
    play.nodes.remove(0);
    assert_eq!(play.report("b", wants).slots, ByClass::new(3, 0));
    assert!(play.granted("b").permits.is_empty() && play.granted("b").ask_again.is_some());
    // One that was taken for dead and lives has what it uses, and no node gets more meanwhile.
    play.nodes.push("a2".into());
    assert_eq!(play.live("a2", 1, 0, 2, 1), 2);
    assert_eq!(play.live("b", 2, 1, 2, 1), 2);
    assert_eq!(play.live("a2", 2, 2, 0, 1), 1);
}

#[test]
fn classes_share_over_all_nodes() {
    let mut play = Play::of(&["a", "b"]);
    let background = |number| Report { number, waiting: ByClass::new(0, 3), ..Report::default() };
    play.report("a", background(1));
    play.report("b", background(1));
    let held = |play: &Play| (play.granted("a").slots, play.granted("b").slots);
    assert_eq!(held(&play), (ByClass::new(0, 2), ByClass::new(0, 0)), "the last one is for a client that is connected");
    let report = Report { number: 2, waiting: ByClass::new(1, 3), ..Report::default() };
    assert_eq!(play.report("b", report).slots, ByClass::new(1, 0));
    // While both wait, the background at one node gets every fourth of the slots that end at the other.
    let mut play = Play::of(&["a", "b"]);
    assert_eq!(play.live("a", 1, 0, 0, 3), 3);
    play.report("b", Report { number: 1, waiting: ByClass::new(0, 1), ..Report::default() });
    let mut granted = String::new();
    for number in 2..10 {
        if granted.ends_with('b') {
            let happened = Happened { ended: ByClass::new(0, 1), ..Happened::default() };
            play.report("b", Report { number, happened, waiting: ByClass::new(0, 1), ..Report::default() });
        } else {
            play.live("a", number, 1, 2, 1);
        }
        granted.push_str(match held(&play) {
            (a, b) if a == ByClass::new(3, 0) && b.sum() == 0 => "l",
            (a, b) if a == ByClass::new(2, 0) && b == ByClass::new(0, 1) => "b",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(granted, "lllblllb");
}

#[test]
fn permits_are_granted_in_turn_and_never_more_than_the_limit() {
    let mut play = Play::of(&["a", "b"]);
    let wants = |number, permits| Report { number, permits, ..Report::default() };
    let count = |granted: Granted| granted.permits.iter().map(|(_, count)| *count).sum::<u32>();
    assert_eq!(count(play.report("a", wants(1, 4))), 2, "half of them");
    assert_eq!(count(play.report("b", wants(1, 1))), 0);
    let mut granted = 2;
    for second in 1..=180 {
        play.now = second * 1000;
        for node in ["a", "b"] {
            let used = play.granted(node).permits.iter().map(|(_, count)| *count).sum();
            granted += used;
            let happened = Happened { used, ..Happened::default() };
            let number = 2 + u64::try_from(second).unwrap();
            play.report(node, Report { number, happened, permits: 1, ..Report::default() });
        }
    }
    // Four a minute, and those that were there at first.
    assert!((10..=4 * 3 + 4).contains(&granted), "{granted}");
}

#[test]
fn refusal_of_the_server_pauses_all_nodes() {
    let mut play = Play::of(&["a", "b"]);
    let refused = |number, waiting| {
        let happened = Happened { refused: true, ..Happened::default() };
        Report { number, happened, waiting: ByClass::new(waiting, 0), permits: 5, ..Report::default() }
    };
    assert_eq!(play.report("a", refused(1, 0)).ask_again, Some(FIRST_PAUSE));
    // Those that were on their way at the same time do not prolong it.
    assert_eq!(play.report("b", refused(1, 1)), Granted { ask_again: Some(FIRST_PAUSE), ..Granted::default() });
    play.now = FIRST_PAUSE;
    assert_eq!(play.live("b", 2, 0, 0, 1), 1);
    assert_eq!(play.report("a", refused(2, 0)).ask_again, Some(2 * FIRST_PAUSE));
    play.now += 2 * FIRST_PAUSE + PAUSES_FORGOTTEN;
    assert_eq!(play.report("a", refused(3, 0)).ask_again, Some(FIRST_PAUSE));
    // A clock that is set back ends it.
    play.now -= 3_600_000;
    play.report("a", Report { number: 4, ..Report::default() });
    assert_eq!(play.state.pause, None);
}

#[test]
fn row_says_something_as_long_as_it_counts() {
    let mut play = Play::of(&["a"]);
    play.now = 1_800_000_000_000;
    play.tick();
    assert_eq!(play.state.ends(play.now), play.now);
    play.live("a", 1, 0, 0, 1);
    assert_eq!(play.state.ends(play.now), play.now + HELD_FOR);
    let happened = Happened { ended: ByClass::new(1, 0), recipients: 1, ..Happened::default() };
    play.report("a", Report { number: 2, happened, ..Report::default() });
    let left = play.state.ends(play.now) - play.now;
    assert!((23 * 3_600_000..=24 * 3_600_000).contains(&left), "{left}");
}

/// Nodes of two versions share a row while one after the other is upgraded: a field that one of them does not know must not make it
/// forget all the others.
#[test]
fn state_of_another_version_is_read() {
    let mut state = State::default();
    state.window.grant("a", 1_000);
    state.nodes.insert("a".into(), Share { number: 7, slots: ByClass::new(2, 0), ..Share::default() });
    let today = serde_json::to_value(&state).unwrap();
    let (mut older, mut newer) = (today.clone(), today);
    older.as_object_mut().unwrap().remove("day").unwrap();
    older["nodes"]["a"].as_object_mut().unwrap().remove("wanted").unwrap();
    newer["of_tomorrow"] = 1.into();
    newer["nodes"]["a"]["of_tomorrow"] = 1.into();
    for other in [older, newer] {
        assert_eq!(serde_json::from_value::<State>(other).unwrap(), state);
    }
}
