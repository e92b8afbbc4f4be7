//! `oxpost mail`: reads the journal, so it works whether the service runs or not.

mod json;
mod shown;
mod time;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use self::shown::{Message, counted, day, zoned};
use super::Failed;
use crate::config::Config;
use crate::context::journal_place;
use crate::journal::event::{JournalEvent, Kind};
use crate::journal::{Filter, Found, JournalPlace, Reader};

/// Without --from, so much is shown.
const BY_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// How far ahead an event may be if no end was asked for: one that was recorded with a clock that was ahead is shown too.
const AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);

/// Most events that are read for one answer; a narrower time shows the others.
const MOST: usize = 50_000;

/// Numbers that --follow remembers, twice as many as are read again.
const REMEMBERED: usize = 1_000;

/// How often --follow looks for new events.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How often --follow looks for a journal that is not there yet, or could not be read.
const RETRY_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only messages of this account
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// From this time [default: 24 hours ago]: 14:03, yesterday, 2026-11-30, "2026-11-30 14:03", 2h (two hours ago)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// To the end of this time [default: now]: --from 14:03 --to 14:03 is one minute, --to yesterday includes all of yesterday
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Only what the mail server has not accepted: refused, deferred, in doubt, unfinished, refused logins
    #[arg(long)]
    refused: bool,
    /// Only the message with this id, whenever it was: an id of Oxpost as in the log
    #[arg(long, value_name = "ID", conflicts_with_all = ["account", "from", "to", "refused", "follow"])]
    id: Option<String>,
    /// As JSON, for scripts: one object in a line for each event
    #[arg(long)]
    json: bool,
    /// Then show new events until Ctrl-C
    #[arg(long, conflicts_with = "to")]
    follow: bool,
}

pub(super) async fn mail(options: &Options, config: &Config) -> Result<(), Failed> {
    let place = journal_place(config)?;
    let search = Search::new(options, &ZonedDateTime::now())?;
    let mut reader = Reader::open(&place).await?;
    if reader.is_none() && !options.follow {
        return Err(no_journal(config, &place));
    }
    let mut shown = Shown::default();
    if let Some(reader) = &reader {
        shown.newest = reader.newest().await?;
        match &options.id {
            Some(id) => return show_id(&search, reader, id).await,
            None => show_range(&search, reader, config, &mut shown).await?,
        }
    }
    match options.follow {
        true => follow(&search, &place, &mut reader, &mut shown).await,
        false => Ok(()),
    }
}

/// Which events were shown, for --follow.
#[derive(Default)]
struct Shown {
    /// The number of the newest.
    newest: i64,
    /// The numbers of the newest ones.
    numbers: BTreeSet<i64>,
}

impl Shown {
    /// Whether this one was not shown yet. It is, from now on.
    fn is_new(&mut self, seq: i64) -> bool {
        self.newest = self.newest.max(seq);
        let is_new = self.numbers.insert(seq);
        if self.numbers.len() > 2 * REMEMBERED {
            self.numbers.pop_first();
        }
        is_new
    }
}

/// What is asked for, and how it is shown.
struct Search {
    filter: Filter,
    /// The time that was searched, for people.
    described: String,
    refused: bool,
    json: bool,
    zone: TimeZone,
}

impl Search {
    fn new(options: &Options, now: &ZonedDateTime) -> Result<Self, Failed> {
        let written = |text: &Option<String>| text.as_deref().map(|text| time::parse(text, now)).transpose();
        let (from, to) = (written(&options.from).map_err(Failed::new)?, written(&options.to).map_err(Failed::new)?);
        let out_of_range = || Failed::new("this time is outside of the years that can be searched");
        let begin = match &from {
            Some(from) => Some(from.beginning(now).ok_or_else(out_of_range)?),
            None => None,
        };
        let reversed = || Failed::new("--to is before --from, so there is no time to search; exchange the two");
        let end = match &to {
            Some(to) => {
                Some(to.end(now, begin).filter(|end| begin.is_none_or(|begin| *end > begin)).ok_or_else(reversed)?)
            }
            None => None,
        };
        let present = SystemTime::try_from(now.timestamp())?;
        let begin = begin.or_else(|| end.unwrap_or(present).checked_sub(BY_DEFAULT)).ok_or_else(out_of_range)?;
        let zone = now.time_zone().clone();
        let shown = |time| zoned(time, &zone).map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let described = format!(
            "from {} to {} ({})",
            shown(begin).ok_or_else(out_of_range)?,
            end.map_or_else(|| Some("now".to_owned()), shown).ok_or_else(out_of_range)?,
            zone_name(now)
        );
        let filter = Filter {
            from: begin,
            to: end.or_else(|| present.checked_add(AHEAD)).ok_or_else(out_of_range)?,
            account: options.account.as_deref().unwrap_or_default().trim().to_lowercase(),
        };
        Ok(Self { filter, described, refused: options.refused, json: options.json, zone })
    }

    /// Whether an event alone is what was asked for, where events are not joined.
    fn wants(&self, event: &JournalEvent) -> bool {
        !self.refused || event.kind != Kind::AcceptedByServer
    }
}

/// `+01:00, Europe/Berlin`
fn zone_name(now: &ZonedDateTime) -> String {
    let offset = now.strftime("%:z");
    match now.time_zone().iana_name() {
        Some(name) => format!("{offset}, {name}"),
        None => offset.to_string(),
    }
}

async fn show_id(search: &Search, reader: &Reader, id: &str) -> Result<(), Failed> {
    let events: Vec<JournalEvent> = reader.of_id(id).await?.into_iter().map(|found| found.event).collect();
    if events.is_empty() {
        return Err(Failed::new(format!(
            "the journal has no message with the id {id}. Ids are those of the field `id` in the log; the events of a message are removed \
             after the time of `keep` under [journal]"
        )));
    }
    if search.json {
        events.iter().for_each(|event| println!("{}", json::line(event)));
        return Ok(());
    }
    if let Some(first) = events.first()
        && let Some(day) = day(first.at, &search.zone)
    {
        println!("{day}");
    }
    Message::join(events).iter().for_each(|message| print!("{}", message.paragraph(&search.zone)));
    Ok(())
}

async fn show_range(search: &Search, reader: &Reader, config: &Config, shown: &mut Shown) -> Result<(), Failed> {
    let (found, is_more) = reader.find(&search.filter, MOST).await?;
    for one in &found {
        shown.is_new(one.seq);
    }
    let events = found.into_iter().map(|found| found.event);
    if search.json {
        events.filter(|event| search.wants(event)).for_each(|event| println!("{}", json::line(&event)));
        if is_more {
            eprintln!("oxpost: only the first {MOST} events are shown; a narrower --from and --to shows the others");
        }
        return Ok(());
    }
    let messages: Vec<Message> =
        Message::join(events).into_iter().filter(|one| !search.refused || one.has_trouble()).collect();
    let of = match search.filter.account.as_str() {
        "" => String::new(),
        account => format!(" of {account}"),
    };
    println!("Mail{of} {}", search.described);
    let mut last_day = None;
    for message in &messages {
        let today = message.0.first().and_then(|event| day(event.at, &search.zone));
        if today != last_day {
            println!("\n{}", today.as_deref().unwrap_or("on an unknown day"));
            last_day = today;
        }
        println!();
        print!("{}", message.paragraph(&search.zone));
    }
    if messages.is_empty() {
        println!("\n{}", nothing(search, reader.oldest().await?, config));
    } else {
        println!("\n{}", counted(messages.len(), "message"));
    }
    if is_more {
        println!("Only the first {MOST} events were read; a narrower --from and --to shows the others.");
    }
    Ok(())
}

/// What to do if nothing was found.
fn nothing(search: &Search, oldest: Option<SystemTime>, config: &Config) -> String {
    let what = match search.refused {
        true => "Nothing was refused, deferred or left in doubt in this time.",
        false => "No client sent a message in this time, and no login to send one was refused.",
    };
    let mut text = format!(
        "{what} A client that does not reach Oxpost leaves nothing here: check its host name and port, and search the log for its address."
    );
    if !search.filter.account.is_empty() {
        text.push_str(" `oxpost account list` shows the names of the accounts.");
    }
    match oldest {
        Some(oldest) if oldest > search.filter.from => {
            let day = zoned(oldest, &search.zone).map(|time| time.strftime("%Y-%m-%d %H:%M").to_string());
            text.push_str(&format!(" The oldest event in the journal is of {}.", day.unwrap_or_default()));
        }
        Some(_) => {}
        None => text.push_str(" The journal is empty."),
    }
    if !config.journal.is_on() {
        text.push_str(" The journal is switched off ([journal] in proxy.toml), so nothing is recorded.");
    }
    shown::wrapped(&text)
}

fn no_journal(config: &Config, place: &JournalPlace) -> Failed {
    Failed::new(match config.journal.is_on() {
        true => format!(
            "there is no journal yet ({place}). The service creates it when it starts: oxpost run. What was sent before is in the log only"
        ),
        false => "the journal is switched off, so nothing is recorded; to switch it on, set enabled = true and a `keep` such as \"30d\" under \
                  [journal] in proxy.toml, and restart the service"
            .to_owned(),
    })
}

/// Shows new events, as they come, until the command is stopped.
async fn follow(
    search: &Search,
    place: &JournalPlace,
    reader: &mut Option<Reader>,
    shown: &mut Shown,
) -> Result<(), Failed> {
    let mut has_failed = false;
    loop {
        let Some(open) = reader.as_ref() else {
            *reader = Reader::open(place).await?;
            tokio::time::sleep(FOLLOW_EVERY).await;
            continue;
        };
        match open.following(shown.newest, &search.filter).await {
            Ok(found) => {
                has_failed = false;
                let new: Vec<Found> = found.into_iter().filter(|found| shown.is_new(found.seq)).collect();
                show_new(search, new.into_iter().map(|found| found.event));
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    eprintln!("oxpost: {error}; trying again");
                }
                // It may have been moved aside, and another one begun.
                *reader = None;
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }
}

fn show_new(search: &Search, events: impl Iterator<Item = JournalEvent>) {
    let events = events.filter(|event| search.wants(event));
    if search.json {
        return events.for_each(|event| println!("{}", json::line(&event)));
    }
    for message in Message::join(events) {
        println!();
        print!("{}", message.paragraph(&search.zone));
    }
}
