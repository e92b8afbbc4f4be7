//! Writes the seed corpora of the fuzz targets: what the peer says in every transcript, behind each choice byte.
//! `cargo run -p oxpost-protocol --example seeds -- FOLDER`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../tests/player/mod.rs"]
mod player;
#[path = "seeds/sessions.rs"]
mod sessions;
#[path = "../tests/player/tap.rs"]
#[allow(dead_code, unreachable_pub, reason = "of this file only the sessions are used here")]
mod tap;

use std::path::{Path, PathBuf};

use player::{Script, Side};

fn main() -> std::io::Result<()> {
    let corpora = PathBuf::from(std::env::args_os().nth(1).expect("the folder to write to"));
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut count = 0;
    for protocol in ["imap", "pop3", "smtp"] {
        for (folder, side) in [("local", Side::Local), ("upstream", Side::Upstream)] {
            let corpus = corpora.join(format!("{protocol}_{folder}"));
            std::fs::create_dir_all(&corpus)?;
            for entry in std::fs::read_dir(transcripts.join(protocol).join(folder))? {
                let file = entry?.path();
                let script = Script::parse(&file, &std::fs::read_to_string(&file)?, side);
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                for choice in [0u8, 1, 12] {
                    let seed = [&[choice], script.peer_says().0.as_slice()].concat();
                    std::fs::write(corpus.join(format!("{name}-{choice}")), seed)?;
                    count += 1;
                }
            }
        }
    }
    let corpus = corpora.join("smtp_submission");
    std::fs::create_dir_all(&corpus)?;
    for entry in std::fs::read_dir(transcripts.join("smtp/submission"))? {
        let file = entry?.path();
        let (client, server) = both_say(&std::fs::read_to_string(&file)?);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (choice, server) in [(0u8, &[][..]), (3, &[]), (5, &server), (24, &[]), (40, &[]), (56, &[])] {
            let seed = [&[choice], client.as_slice(), b"\xff\xfe\xff", server].concat();
            std::fs::write(corpus.join(format!("{name}-{choice}")), seed)?;
            count += 1;
        }
    }
    let corpus = corpora.join("tap");
    std::fs::create_dir_all(&corpus)?;
    for (number, session) in tap::SESSIONS.into_iter().enumerate() {
        std::fs::write(corpus.join(format!("session-{number}")), tap::seed(session))?;
        count += 1;
    }
    for protocol in ["imap", "pop3", "smtp"] {
        let corpus = corpora.join(format!("{protocol}_session"));
        std::fs::create_dir_all(&corpus)?;
        for (name, seed) in sessions::of(protocol, &transcripts, &transcripts.join("../../tests/e2e/stories"))? {
            std::fs::write(corpus.join(name), seed)?;
            count += 1;
        }
    }
    println!("{count} seeds from the transcripts");
    Ok(())
}

/// What the client, and what the (indented) server says in a transcript of a whole session.
fn both_say(text: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (side, who, line) = match line.strip_prefix("        ") {
            Some(indented) => (&mut server, 'S', indented),
            None => (&mut client, 'C', line),
        };
        let mut chars = line.chars();
        if let (Some(first), Some(kind @ (':' | '-' | '+'))) = (chars.next(), chars.next())
            && first == who
        {
            side.extend(player::said(kind, line.get(2..).unwrap_or_default().strip_prefix(' ').unwrap_or_default()));
        }
    }
    (client, server)
}
