//! Outages, throttling, crashes and wrong clocks played against the circuit of some nodes, for simulated days.

use super::*;

/// A cheap source of numbers that is the same at each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn part(&mut self) -> f64 {
        let roll = u32::try_from(self.roll(1000)).unwrap_or_default();
        f64::from(roll) / 999.0
    }
}

const NODES: u64 = 3;
const STEPS: u64 = 2_000_000;

/// The authority as it is for a while.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    Silent,
    Throttling(u64),
}

/// A request in flight.
struct Flight {
    asked: Asked,
    /// When it began and ends, by a clock that is never wrong.
    began: u64,
    ends: u64,
    weather: Weather,
}

struct World {
    dice: Dice,
    circuit: Circuit,
    /// In tenths of a second, by a clock that is never wrong.
    time: u64,
    /// How far the clock of the store is off, in tenths of a second.
    skew: i64,
    weather: Weather,
    changes: u64,
    refreshes: Vec<Flight>,
    /// Before this, no request but our own probe may be made.
    quiet_until: u64,
    requests: u64,
    most_concurrent_while_open: usize,
    closed: u64,
}

impl World {
    fn now(&self) -> SystemTime {
        let millis = (self.time.cast_signed() + 100_000_000_000 + self.skew) * 100;
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs())
    }

    fn ask(&mut self) {
        let now = self.now();
        let is_probe = match self.circuit.permission(now) {
            Permission::Ask => false,
            Permission::Probe => {
                let node = self.dice.roll(NODES);
                self.circuit.begin_probe(&node.to_string(), now);
                assert_eq!(self.circuit.permission(now), Permission::Probed(PROBE_TIME), "one at a time");
                true
            }
            Permission::Wait(left) => {
                assert!(left <= LONGEST_PAUSE);
                return;
            }
            Permission::Probed(_) => return,
        };
        assert!(self.time >= self.quiet_until, "asked in a pause that the authority has asked for");
        let length = if self.weather == Weather::Silent { 300 } else { 1 + self.dice.roll(20) };
        let asked = Asked { since: now, is_probe };
        self.refreshes.push(Flight { asked, began: self.time, ends: self.time + length, weather: self.weather });
        self.requests += 1;
        if self.circuit.pauses > 0 {
            let probes = self.refreshes.iter().filter(|flight| flight.asked.is_probe).count();
            self.most_concurrent_while_open = self.most_concurrent_while_open.max(probes);
        }
    }

    fn land(&mut self, flight: &Flight) {
        let (now, jitter) = (self.now(), self.dice.part());
        let open = self.circuit.pauses > 0;
        match flight.weather {
            Weather::Fine => {
                self.circuit.answered(flight.asked, now);
                self.closed += u64::from(open && self.circuit.pauses == 0);
            }
            Weather::Silent => {
                let silence = RequestFailure { throttled: false, retry_after: None, reason: "silent".into() };
                self.circuit.failed(flight.asked, &silence, now, jitter);
            }
            Weather::Throttling(seconds) => {
                let retry_after = Some(Duration::from_secs(seconds));
                self.circuit.failed(
                    flight.asked,
                    &RequestFailure { throttled: true, retry_after, reason: "429".into() },
                    now,
                    jitter,
                );
                assert!(matches!(self.circuit.permission(now), Permission::Wait(_)));
                self.quiet_until = self.quiet_until.max(self.time + seconds * 10);
            }
        }
    }

    fn step(&mut self, clock_moves: bool) {
        self.time += 1;
        if self.time >= self.changes {
            self.weather = match self.dice.roll(4) {
                0 => Weather::Silent,
                1 => Weather::Throttling(1 + self.dice.roll(900)),
                _ => Weather::Fine,
            };
            self.changes = self.time + 10 + self.dice.roll(20_000);
        }
        if clock_moves && self.dice.roll(5_000) == 0 {
            self.skew = self.dice.roll(2_000_000).cast_signed() - 1_000_000;
            // After a clock jump an authority may be asked before its pause is over: nothing else is promised.
            self.quiet_until = 0;
        }
        // A process dies, and what it has asked with it.
        if self.dice.roll(3_000) == 0 {
            self.refreshes.clear();
        }
        let (over, flying) =
            std::mem::take(&mut self.refreshes).into_iter().partition(|flight| flight.ends <= self.time);
        self.refreshes = flying;
        let over: Vec<Flight> = over;
        for flight in over {
            assert!(flight.began <= self.time);
            self.land(&flight);
        }
        if self.refreshes.len() < 24 && self.dice.roll(3) == 0 {
            self.ask();
        }
    }
}

fn play(seed: u64, clock_moves: bool) -> World {
    let mut world = World {
        dice: Dice(seed),
        circuit: Circuit::default(),
        time: 0,
        skew: 0,
        weather: Weather::Fine,
        changes: 0,
        refreshes: Vec::new(),
        quiet_until: 0,
        requests: 0,
        most_concurrent_while_open: 0,
        closed: 0,
    };
    for _ in 0..STEPS / 4 {
        world.step(clock_moves);
    }
    // The authority is well from now on: it is asked again within the longest pause and one dead probe, wherever it stood.
    world.weather = Weather::Fine;
    world.changes = u64::MAX;
    let limit = world.time + (LONGEST_PAUSE + PROBE_TIME * 2).as_secs() * 10;
    while world.circuit.pauses > 0 {
        assert!(world.time < limit, "it never closes: {:?}", world.circuit);
        world.step(false);
    }
    world
}

#[test]
fn open_circuit_lets_one_probe_through_and_always_closes_again() {
    let (mut requests, mut closed) = (0, 0);
    for seed in 1..=4 {
        let world = play(seed * 7_919, false);
        assert!(world.most_concurrent_while_open <= 1, "{} concurrent probes", world.most_concurrent_while_open);
        requests += world.requests;
        closed += world.closed;
    }
    assert!(closed > 20, "{closed}");
    println!("{} simulated hours: {requests} requests, closed {closed} times", STEPS / 36_000);
}

#[test]
fn wrong_clocks_never_keep_the_circuit_open() {
    for seed in 1..=4 {
        let world = play(seed * 104_729, true);
        assert!(world.closed > 5, "{}", world.closed);
    }
}
