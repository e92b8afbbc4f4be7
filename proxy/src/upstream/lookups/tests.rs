//! On the paused clock, with a resolver that answers as configured.

use std::collections::VecDeque;

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::upstream::lookups::cached_answer::{FRESH_FOR, RECHECK_AFTER};

const HOST: &str = "outlook.office365.com";

/// What the resolver does at a call; without an entry it answers immediately, with one address.
enum Does {
    Answer(&'static [u8]),
    AnswerAfter(Duration, u8),
    Fail,
    Hang,
    Panic,
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// A resolver, and the names that it was asked for.
struct Play {
    lookups: Lookups,
    asked: Arc<Mutex<Vec<String>>>,
    begun: Instant,
}

impl Play {
    fn new(does: impl IntoIterator<Item = Does>) -> Self {
        let (does, asked) =
            (Mutex::new(does.into_iter().collect::<VecDeque<_>>()), Arc::<Mutex<Vec<String>>>::default());
        let names = Arc::clone(&asked);
        let lookups = Lookups::with(Box::new(move |host, running| {
            names.lock().unwrap().push(host);
            let does = does.lock().unwrap().pop_front().unwrap_or(Does::Answer(&[1]));
            Box::pin(async move {
                match does {
                    Does::Answer(list) => Ok(list.iter().map(|last| ip(*last)).collect()),
                    Does::AnswerAfter(time, last) => {
                        sleep(time).await;
                        Ok(vec![ip(last)])
                    }
                    Does::Fail => Err(io::Error::other("Temporary failure in name resolution")),
                    Does::Hang => hang(running).await,
                    Does::Panic => panic!("a bug of the resolver"),
                }
            })
        }));
        Self { lookups, asked, begun: Instant::now() }
    }

    async fn get(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        self.lookups.addresses(host).await.map(|list| list.to_vec()).map_err(|error| error.to_string())
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn free(&self) -> usize {
        self.lookups.0.running.available_permits()
    }

    fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// As a thread does, it goes on when no one waits for it.
async fn hang(running: Running) -> io::Result<Vec<IpAddr>> {
    std::mem::forget(running);
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_logins_share_one_lookup() {
    let play = Arc::new(Play::new([Does::AnswerAfter(Duration::from_secs(3), 7)]));
    let mut waiting = JoinSet::new();
    for _ in 0..10_000 {
        let play = Arc::clone(&play);
        waiting.spawn(async move { play.get(HOST).await });
    }
    while let Some(found) = waiting.join_next().await {
        assert_eq!(found.unwrap(), Ok(vec![ip(7)]));
    }
    assert_eq!((play.asked(), play.took()), (1, Duration::from_secs(3)));
    assert_eq!(play.get(HOST).await, Ok(vec![ip(7)]));
    assert_eq!(play.asked(), 1, "remembered");
}

#[tokio::test(start_paused = true)]
async fn waiters_that_give_up_leave_nothing_and_the_answer_is_kept() {
    let play = Play::new([Does::AnswerAfter(Duration::from_secs(3), 7)]);
    for _ in 0..100 {
        assert!(timeout(Duration::from_millis(10), play.get(HOST)).await.is_err());
    }
    assert_eq!((play.asked(), play.free()), (1, MAX_RUNNING - 1));
    sleep(Duration::from_secs(3)).await;
    assert_eq!((play.free(), play.get(HOST).await), (MAX_RUNNING, Ok(vec![ip(7)])));
    assert_eq!(play.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn resolver_order_is_kept_and_addresses_need_no_lookup() {
    let play = Play::new([Does::Answer(&[9, 3, 5])]);
    assert_eq!(play.get(HOST).await, Ok(vec![ip(9), ip(3), ip(5)]));
    for address in ["192.0.2.9", "::1"] {
        assert_eq!(play.get(address).await, Ok(vec![address.parse().unwrap()]));
    }
    assert_eq!(*play.asked.lock().unwrap(), [HOST]);
    let found = crate::upstream::connect::addresses(&play.lookups, HOST, 993).await.unwrap();
    assert_eq!(found.first(), Some(&"192.0.2.9:993".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn last_known_addresses_are_used_while_dns_fails() {
    let play = Play::new([Does::Answer(&[7]), Does::Fail, Does::Fail, Does::Answer(&[8])]);
    play.get(HOST).await.unwrap();
    advance(FRESH_FOR).await;
    for asked in [2, 3] {
        for _ in 0..3 {
            assert_eq!((play.get(HOST).await, play.asked()), (Ok(vec![ip(7)]), asked));
        }
        advance(RECHECK_AFTER).await;
    }
    assert_eq!((play.get(HOST).await, play.asked()), (Ok(vec![ip(8)]), 4));
    let unknown = Play::new([Does::Fail, Does::Answer(&[])]);
    assert!(unknown.get(HOST).await.unwrap_err().contains("Temporary failure"));
    assert!(unknown.get(HOST).await.unwrap_err().contains("no address"));
    assert_eq!(unknown.get(HOST).await, Ok(vec![ip(1)]));
}

#[tokio::test(start_paused = true)]
async fn slow_resolver_costs_two_seconds_where_addresses_are_known() {
    let slow = Duration::from_secs(9);
    let play = Play::new([Does::Answer(&[7]), Does::AnswerAfter(slow, 8)]);
    play.get(HOST).await.unwrap();
    advance(FRESH_FOR).await;
    assert_eq!((play.get(HOST).await, play.took()), (Ok(vec![ip(7)]), FRESH_FOR + STALE_ANSWER_TIMEOUT));
    assert_eq!((play.get(HOST).await, play.took()), (Ok(vec![ip(7)]), FRESH_FOR + STALE_ANSWER_TIMEOUT));
    sleep(slow).await;
    assert_eq!((play.get(HOST).await, play.asked()), (Ok(vec![ip(8)]), 2));
}

#[tokio::test(start_paused = true)]
async fn hung_resolver_occupies_a_bounded_number_of_threads() {
    let play = Play::new((0..100).map(|_| Does::Hang));
    for (round, asked) in [(1, 1), (2, 2), (3, 2)] {
        let error = play.get(HOST).await.unwrap_err();
        assert!(error.contains("within 15 s"), "{error}");
        assert_eq!((play.took(), play.asked()), (LOOKUP_TIME * round, asked), "a second try, and no more of this name");
    }
    for other in 0..20 {
        play.get(&format!("{other}.example")).await.unwrap_err();
    }
    assert_eq!((play.asked(), play.free()), (MAX_RUNNING, 0));
}

#[tokio::test(start_paused = true)]
async fn second_lookup_finds_dns_well_again_while_the_first_hangs() {
    let play = Play::new([Does::Hang]);
    play.get(HOST).await.unwrap_err();
    assert_eq!(play.get(HOST).await, Ok(vec![ip(1)]));
    assert_eq!((play.took(), play.free()), (LOOKUP_TIME, MAX_RUNNING - 1));
}

#[tokio::test(start_paused = true)]
async fn resolver_that_panics_fails_one_lookup() {
    let play = Play::new([Does::Panic]);
    assert!(play.get(HOST).await.is_err());
    assert_eq!((play.get(HOST).await, play.free()), (Ok(vec![ip(1)]), MAX_RUNNING));
}

#[tokio::test(start_paused = true)]
async fn addresses_that_do_not_answer_are_looked_up_again() {
    let play = Play::new([Does::Answer(&[7]), Does::Answer(&[8])]);
    play.get(HOST).await.unwrap();
    play.lookups.expire("another.example");
    assert_eq!(play.get(HOST).await, Ok(vec![ip(7)]));
    play.lookups.expire(HOST);
    assert_eq!(play.get(HOST).await, Ok(vec![ip(8)]));
}

#[tokio::test(start_paused = true)]
async fn http_requests_share_the_lookups() {
    let play = Play::new([Does::Answer(&[9, 3]), Does::Fail]);
    let resolve = |name: &str| Resolve::resolve(&play.lookups, name.parse().unwrap());
    let found: Vec<_> = resolve(HOST).await.unwrap().collect();
    assert_eq!(found, [SocketAddr::new(ip(9), 0), SocketAddr::new(ip(3), 0)]);
    assert_eq!((play.get(HOST).await, play.asked()), (Ok(vec![ip(9), ip(3)]), 1));
    let Err(error) = resolve("login.example").await else { panic!("it fails") };
    assert!(error.to_string().contains("Temporary failure"), "{error}");
}

#[tokio::test]
async fn system_resolver_knows_localhost_and_gives_its_thread_back() {
    let lookups = Lookups::default();
    assert!(lookups.addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    assert_eq!(lookups.0.running.available_permits(), MAX_RUNNING);
}
