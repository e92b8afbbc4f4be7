//! On the paused clock, with addresses that answer as configured.

use std::sync::{Arc, Mutex};

use super::*;
use crate::upstream::happy_eyeballs::ATTEMPT_DELAY;

/// What an address does when it is dialled.
#[derive(Clone, Copy)]
enum Does {
    AnswerAfter(Duration),
    RefuseAfter(Duration),
    Nothing,
}

const AT_ONCE: Duration = Duration::ZERO;

/// Dials addresses that do these things, one each; says who won, after how long, and when each was dialled.
async fn play(does: &[Does]) -> (Result<usize, Vec<(usize, String)>>, Duration, Vec<Duration>) {
    let begun = Instant::now();
    let does = does.to_vec();
    let dialled = Arc::new(Mutex::new(Vec::new()));
    let all: Vec<SocketAddr> = (1..=does.len()).map(|n| SocketAddr::from(([192, 0, 2, 1], n as u16))).collect();
    let number = |address: &SocketAddr| usize::from(address.port());
    let seen = Arc::clone(&dialled);
    let won = first(all, move |address| {
        seen.lock().unwrap().push(begun.elapsed());
        let does = does[usize::from(address.port()) - 1];
        async move {
            match does {
                Does::AnswerAfter(time) => {
                    tokio::time::sleep(time).await;
                    Ok(usize::from(address.port()))
                }
                Does::RefuseAfter(time) => {
                    tokio::time::sleep(time).await;
                    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "refused"))
                }
                Does::Nothing => std::future::pending().await,
            }
        }
    })
    .await
    .map_err(|failed| failed.iter().map(|(address, error)| (number(address), error.to_string())).collect());
    let dialled = dialled.lock().unwrap().clone();
    (won, begun.elapsed(), dialled)
}

#[tokio::test(start_paused = true)]
async fn address_that_answers_immediately_is_the_only_one_tried() {
    let (won, took, dialled) = play(&[Does::AnswerAfter(AT_ONCE), Does::AnswerAfter(AT_ONCE)]).await;
    assert_eq!((won, took, dialled.len()), (Ok(1), AT_ONCE, 1));
}

#[tokio::test(start_paused = true)]
async fn silent_address_costs_250_milliseconds() {
    let (won, took, dialled) = play(&[Does::Nothing, Does::AnswerAfter(AT_ONCE)]).await;
    assert_eq!((won, took), (Ok(2), ATTEMPT_DELAY));
    assert_eq!(dialled, [AT_ONCE, ATTEMPT_DELAY]);
}

#[tokio::test(start_paused = true)]
async fn refusing_address_costs_no_delay() {
    let refuse = Does::RefuseAfter(Duration::from_millis(3));
    let (won, took, _) = play(&[refuse, refuse, Does::AnswerAfter(Duration::from_millis(5))]).await;
    assert_eq!((won, took), (Ok(3), Duration::from_millis(11)));
}

#[tokio::test(start_paused = true)]
async fn slow_address_can_still_be_first() {
    let slow = |milliseconds| Does::AnswerAfter(Duration::from_millis(milliseconds));
    let (won, took, _) = play(&[slow(600), slow(2000)]).await;
    assert_eq!((won, took), (Ok(1), Duration::from_millis(600)));
}

#[tokio::test(start_paused = true)]
async fn when_none_answers_each_is_named_with_its_reason() {
    let (won, took, _) = play(&[Does::Nothing, Does::RefuseAfter(AT_ONCE), Does::Nothing]).await;
    let silent = |number| (number, "no answer within 10 s".to_owned());
    assert_eq!(won, Err(vec![(2, "refused".to_owned()), silent(1), silent(3)]));
    assert_eq!(took, CONNECT_TIMEOUT + ATTEMPT_DELAY, "the third was dialled when the second had refused");
    let tried = (1..=8).map(|number| (SocketAddr::from(([192, 0, 2, number], 993)), io::Error::other("no")));
    let text = ConnectError::NoAnswer(tried.collect()).to_string();
    assert!(text.starts_with("192.0.2.1: no, 192.0.2.2: no,") && text.ends_with("192.0.2.6: no and 2 more"), "{text}");
}

#[tokio::test]
async fn unknown_name_has_no_address() {
    let error = addresses(&Lookups::default(), "no-such-host.invalid", 993).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAddress(_)), "{error}");
}
