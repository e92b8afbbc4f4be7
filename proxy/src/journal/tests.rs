mod model;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxpost_token_store::{ManualClock, SharedClock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::database::{BATCH, JournalDatabase};
use super::event::{Detail, Kind};
use super::*;

const START: Duration = Duration::from_secs(1_796_133_802);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + START
}

fn place(folder: &Path) -> JournalPlace {
    JournalPlace::File { path: folder.join("oxpost.journal.db"), store: folder.join("oxpost.db") }
}

fn event(id: &str, at: SystemTime, account: &str) -> JournalEvent {
    let detail = Detail { reply: Some("250 2.0.0 OK".into()), ..Detail::default() };
    JournalEvent {
        id: id.into(),
        step: 0,
        at,
        kind: Kind::AcceptedByServer,
        account: account.into(),
        node: String::new(),
        detail,
    }
}

fn everything() -> Filter {
    Filter { from: SystemTime::UNIX_EPOCH, to: start() + START, account: String::new() }
}

async fn found(place: &JournalPlace, filter: &Filter) -> Vec<JournalEvent> {
    let reader = Reader::open(place).await.unwrap().unwrap();
    let (found, is_more) = reader.find(filter, 100_000).await.unwrap();
    assert!(!is_more);
    found.into_iter().map(|found| found.event).collect()
}

/// A journal with its task.
struct Running {
    journal: Arc<Journal>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(place: JournalPlace) -> Self {
        Self::of(Arc::new(Journal::new(Some(place), JournalSettings::default(), "mx1")))
    }

    fn of(journal: Arc<Journal>) -> Self {
        let stop = CancellationToken::new();
        let clock: SharedClock = Arc::new(ManualClock::new(start()));
        let (writer, stopped) = (Arc::clone(&journal), stop.clone());
        let task = tokio::spawn(async move { writer.write_down(clock, stopped).await });
        Self { journal, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn events_are_in_the_journal_when_the_writer_ends() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    assert!(Reader::open(&place).await.unwrap().is_none(), "reading makes none");
    let running = Running::start(place.clone());
    for number in 0..3 * BATCH {
        running.journal.record(event(&format!("{number:05}"), start(), "erp@contoso.com"));
        // As a session does between two messages.
        tokio::task::yield_now().await;
    }
    running.end().await;
    let events = found(&place, &everything()).await;
    assert_eq!(events.len(), 3 * BATCH);
    assert!(events.is_sorted_by(|one, next| one.id < next.id), "in the order of recording");
    assert_eq!((events[0].node.as_str(), events[0].detail.reply.as_deref()), ("mx1", Some("250 2.0.0 OK")));
}

#[tokio::test]
async fn events_are_found_by_time_account_and_id() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let database = JournalDatabase::open(&place).await.unwrap();
    let at = |seconds| start() + Duration::from_secs(seconds);
    let later = JournalEvent { step: 1, at: at(9_000), ..event("b", at(60), "erp@contoso.com") };
    let gap = JournalEvent { kind: Kind::NotRecorded, ..event("gap", at(61), "") };
    let all = [
        event("a", at(0), "erp@contoso.com"),
        event("b", at(60), "erp@contoso.com"),
        gap,
        event("c", at(70), "scan@contoso.com"),
        later,
    ];
    database.add(&all).await.unwrap();
    // A write without an answer is repeated.
    database.add(&all).await.unwrap();
    let ids = |events: Vec<JournalEvent>| events.into_iter().map(|event| event.id).collect::<Vec<_>>();
    let filter = |from, to, account: &str| Filter { from: at(from), to: at(to), account: account.into() };
    assert_eq!(ids(found(&place, &filter(0, 100, "")).await), ["a", "b", "gap", "c"]);
    assert_eq!(ids(found(&place, &filter(60, 70, "")).await), ["b", "gap"], "from it, and before the end");
    assert_eq!(
        ids(found(&place, &filter(0, 100, "scan@contoso.com")).await),
        ["gap", "c"],
        "a gap concerns each account"
    );
    assert_eq!(ids(found(&place, &filter(100, 200, "")).await), Vec::<String>::new());
    let reader = Reader::open(&place).await.unwrap().unwrap();
    let steps: Vec<_> = reader.of_id("b").await.unwrap().into_iter().map(|found| found.event.step).collect();
    assert_eq!(steps, [0, 1]);
    assert!(reader.find(&everything(), 2).await.unwrap().1, "there are more");
    assert_eq!(reader.following(reader.newest().await.unwrap(), &everything()).await.unwrap().len(), 5);
}

/// Sessions go on while nothing can be written; what did not fit is counted, and the journal says so later.
#[tokio::test]
async fn full_buffer_loses_events_and_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let journal = Arc::new(Journal::new(Some(place.clone()), JournalSettings::default(), "mx1"));
    for number in 0..WAITING + 7 {
        journal.record(event(&format!("{number:05}"), start(), "erp@contoso.com"));
    }
    Running::of(journal).end().await;
    let events = found(&place, &everything()).await;
    assert_eq!(events.iter().filter(|event| event.kind == Kind::AcceptedByServer).count(), WAITING);
    let lost: Vec<_> = events.iter().filter(|event| event.kind == Kind::NotRecorded).collect();
    assert!(matches!(lost.as_slice(), [gap] if gap.detail.lost == 7), "{lost:?}");
    assert_eq!(lost[0].text(), "7 events were not recorded");
}

#[test]
fn bytes_of_waiting_events_are_bounded() {
    let (journal, mut large) = (Journal::for_test(), event("1", start(), "erp@contoso.com"));
    large.detail.reply = Some("x".repeat(1 << 20));
    for _ in 0..20 {
        journal.record(large.clone());
    }
    assert_eq!(journal.lost.load(Ordering::Relaxed), 5, "of 16 MiB, with what an event has besides");
    assert_eq!(journal.waiting().len(), 15);
}

#[tokio::test]
async fn journal_that_is_off_records_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let off = JournalSettings { keep: Duration::ZERO, ..JournalSettings::default() };
    let running = Running::of(Arc::new(Journal::new(Some(place(folder.path())), off, "mx1")));
    running.journal.record(event("1", start(), "erp@contoso.com"));
    assert_ne!(running.journal.new_id(start()), running.journal.new_id(start()), "the log has ids all the same");
    running.end().await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn damaged_journal_is_moved_aside_and_a_new_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let JournalPlace::File { path, .. } = &place else { unreachable!() };
    drop(JournalDatabase::open(&place).await.unwrap());
    while path.with_extension("db-wal").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::write(path, vec![b'x'; 8192]).unwrap();
    let running = Running::start(place.clone());
    running.journal.record(event("1", start(), "erp@contoso.com"));
    running.end().await;
    assert_eq!(found(&place, &everything()).await.len(), 1);
    let names = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let kept: Vec<String> = names.filter(|name| name.contains(".damaged-")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(std::fs::read(folder.path().join(&kept[0])).unwrap(), vec![b'x'; 8192]);
}

/// A file that belongs to someone else, a full disk: the events wait, and are written when it is possible again.
#[tokio::test]
async fn journal_that_cannot_be_opened_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let place = place(&missing);
    let running = Running::start(place.clone());
    running.journal.record(event("1", start(), "erp@contoso.com"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::create_dir(&missing).unwrap();
    running.end().await;
    assert_eq!(found(&place, &everything()).await.len(), 1);
}

/// Other users of the machine must not read the addresses of senders and recipients.
#[cfg(unix)]
#[tokio::test]
async fn journal_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    Running::start(place.clone()).end().await;
    let JournalPlace::File { path, .. } = &place else { unreachable!() };
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Reader::open(&place).await.err().unwrap().to_string();
    assert!(error.contains("chmod 600") && error.contains("addresses"), "{error}");
}
