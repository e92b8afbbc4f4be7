//! Simulates the refresh schedule of many mailboxes, and prints the table of `docs/scaling.md`: how many requests a second an
//! authority gets, and whether every token is renewed before it ends.
//!
//! `cargo run --release --package oxpost-tests --bin scaling`

mod simulate;

use simulate::{Outcome, Scenario, Start, simulate};

fn main() {
    println!(
        "| mailboxes with tokens of their own | nodes | beginning | requests a second, mean | most | longest delay | tokens that ended |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (mailboxes, nodes) in [(10_000, 1), (50_000, 1), (100_000, 2), (1_000_000, 32)] {
        for (start, name) in [
            (Start::Spread, "any"),
            (Start::SameMinute, "all signed in within one minute"),
            (Start::AfterOutage, "all tokens have ended, after an outage"),
        ] {
            let Outcome { mean, most, longest_delay, ended } =
                simulate(Scenario { mailboxes, nodes, start, hours: 24 });
            println!("| {mailboxes} | {nodes} | {name} | {mean:.1} | {most} | {longest_delay} s | {ended} |");
        }
    }
}
