//! What Oxpost costs, side by side with other proxies in the same run: memory of sessions and of strangers, CPU of a login,
//! of relayed bytes, and the delay of a command.
//!
//! `tests/bench/run` installs the others, builds all of it optimised and runs this. Nothing here is asserted: figures
//! depend on the machine, and a busy one would fail for no reason.
//!
//! The simulated tenant and the mail clients live in this process, the proxies are processes of their own, and only
//! those are measured. Both share the processors, so throughput is that of the whole chain.

mod client;
mod measure;
mod peer;
mod process;
mod stage;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use oxpost_tests::harness::Problem;

use measure::{round_trip, sessions, strangers, transfer};
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
    let stage = Stage::set().await?;
    println!("{}\n", process::machine());
    for kind in Kind::PROXIES {
        println!("- {}: {}", kind.name(), kind.version(&stage).await);
    }
    let mut table = Table::new();
    eprintln!("idle sessions and logins …");
    sessions::measure(&stage, &mut table).await;
    eprintln!("strangers …");
    strangers::measure(&stage, &mut table).await;
    eprintln!("messages of {} MiB …", transfer::MEBIBYTES);
    transfer::measure(&stage, &mut table).await;
    eprintln!("round trips …");
    round_trip::measure(&stage, &mut table).await;
    println!("\n{table}");
    println!("Measured in {} s.", began.elapsed().as_secs());
    Ok(())
}
