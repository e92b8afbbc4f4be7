//! What Oxpost costs, side by side with other proxies in the same run: memory of sessions and of unauthenticated connections,
//! CPU of a login, of relayed bytes, and the delay of a command.
//!
//! `tests/bench/run` installs the others, builds all of it optimised and runs this; `tests/bench/run password-checks`
//! measures only that, `sessions`, `unauthenticated`, `transfer` or `round-trip` only those; `growth` measures Oxpost alone, with 10 to
//! 10,000 accounts, and `instructions` counts those of Oxpost and HAProxy under callgrind. Nothing here is asserted: figures depend on the machine, and a busy one would fail for no reason.
//!
//! The simulated tenant and the mail clients live in this process, the proxies are processes of their own, and only
//! those are measured. Both share the processors, so throughput is that of the whole chain.

mod client;
mod growth;
mod measure;
mod peer;
mod process;
mod stage;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use oxpost_tests::harness::Problem;

use measure::{instructions, password_checks, round_trip, sessions, transfer, unauthenticated};
use peer::Kind;
use stage::Stage;
use table::Table;

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("The bench failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<(), Problem> {
    if !cfg!(target_os = "linux") {
        return Err(Problem::new("memory and processor time are read from /proc, which only Linux has"));
    }
    if cfg!(debug_assertions) {
        eprintln!("Not optimised: the figures mean nothing. Run tests/bench/run instead.");
    }
    let began = Instant::now();
    // Stages of its own, and no other proxies.
    if std::env::args().skip(1).any(|argument| argument == "growth") {
        growth::measure().await?;
        println!("Measured in {} s.", began.elapsed().as_secs());
        return Ok(());
    }
    // Slow: each proxy runs under callgrind.
    if std::env::args().skip(1).any(|argument| argument == "instructions") {
        let mut table = Table::new();
        instructions::measure(&mut table).await?;
        println!("{table}");
        println!("Counted in {} s.", began.elapsed().as_secs());
        return Ok(());
    }
    let stage = Stage::set().await?;
    println!("{}\n", process::machine());
    for kind in Kind::PROXIES {
        println!("- {}: {}", kind.name(), kind.version(&stage).await);
    }
    let mut table = Table::new();
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| {
        let wanted = only.is_empty() || only.iter().any(|only| only == name);
        if wanted {
            eprintln!("{name} …");
        }
        wanted
    };
    if wanted("sessions") {
        sessions::measure(&stage, &mut table).await;
    }
    if wanted("unauthenticated") {
        unauthenticated::measure(&stage, &mut table).await;
    }
    if wanted("password-checks") {
        password_checks::measure(&stage, &mut table).await;
    }
    if wanted("transfer") {
        transfer::measure(&stage, &mut table).await;
    }
    if wanted("round-trip") {
        round_trip::measure(&stage, &mut table).await;
    }
    println!("\n{table}");
    println!("Measured in {} s.", began.elapsed().as_secs());
    Ok(())
}
