//! The time a proxy adds to a short command and its answer.

use std::time::{Duration, Instant};

use oxpost_tests::harness::Problem;

use crate::client::Client;
use crate::peer::Kind;
use crate::stage::Stage;
use crate::table::{Measured, Table};

/// Rounds in which each proxy has its turn.
const ROUNDS: usize = 10;
/// Commands in a turn.
const COMMANDS: usize = 300;

pub(crate) async fn measure(stage: &Stage, table: &mut Table) {
    let mut talks = Vec::new();
    for kind in Kind::ALL {
        talks.push((kind, Talk::begin(kind, stage).await.map_err(|problem| problem.to_string())));
    }
    for _ in 0..ROUNDS {
        for (_, talk) in &mut talks {
            if let Ok(going) = talk
                && let Err(problem) = going.turn().await
            {
                *talk = Err(problem.to_string());
            }
        }
    }
    let medians: Vec<_> = talks.into_iter().map(|(kind, talk)| (kind, talk.map(Talk::median))).collect();
    let direct = medians.iter().find(|(kind, _)| *kind == Kind::Direct).and_then(|(_, median)| median.clone().ok());
    let Some(direct) = direct else { return };
    let added = medians.iter().filter(|(kind, _)| *kind != Kind::Direct).map(|(kind, median)| {
        (*kind, median.clone().map(|median| Measured { value: median.value - direct.value, n: median.n }))
    });
    table.add("time added to an IMAP NOOP, median, µs", added.collect());
    table.add("whole IMAP NOOP, median, µs", medians);
}

/// A session and what its commands took. The proxy ends with it.
struct Talk {
    _peer: crate::peer::Peer,
    client: Client,
    taken: Vec<Duration>,
}

impl Talk {
    async fn begin(kind: Kind, stage: &Stage) -> Result<Self, Problem> {
        let peer = kind.start(stage).await?;
        let client = Client::imap_session(stage, &peer).await?;
        Ok(Self { _peer: peer, client, taken: Vec::new() })
    }

    async fn turn(&mut self) -> Result<(), Problem> {
        for _ in 0..COMMANDS {
            let began = Instant::now();
            self.client.command("a NOOP", "a OK").await?;
            self.taken.push(began.elapsed());
        }
        Ok(())
    }

    fn median(mut self) -> Measured {
        self.taken.sort_unstable();
        let middle = self.taken.get(self.taken.len() / 2).copied().unwrap_or_default();
        Measured { value: middle.as_secs_f64() * 1e6, n: self.taken.len() }
    }
}
