//! Who waits, for how long, and what becomes of those who stop waiting.

use std::task::Poll;

use oxpost_protocol::smtp::submission::Report;

use super::*;

fn limiter(at_once: usize, messages_per_minute: usize, wait: u64) -> Arc<MailboxLimiter> {
    let limits = SendingLimits { max_connections: at_once, messages_per_minute, recipients_per_day: 0 };
    let mailbox = Mailbox::parse("scan@contoso.com").unwrap();
    Arc::new(MailboxLimiter::new(mailbox, limits, Duration::from_secs(wait)))
}

async fn send_slot(limiter: &Arc<MailboxLimiter>) -> Option<SendSlot> {
    let budget = limiter.budget();
    limiter.send_slot(&budget).await
}

fn now<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn slots_are_granted_in_order_and_leavers_are_removed() {
    let limiter = limiter(2, 0, 45);
    let (first, _second) = (send_slot(&limiter).await.unwrap(), send_slot(&limiter).await.unwrap());
    let mut third = Box::pin(send_slot(&limiter));
    let mut fourth = Box::pin(send_slot(&limiter));
    assert!(now(third.as_mut()).is_none() && now(fourth.as_mut()).is_none());
    assert_eq!(limiter.waiting(), 2);
    drop(first);
    assert!(now(fourth.as_mut()).is_none(), "it came later");
    let third = now(third.as_mut()).unwrap().unwrap();
    drop(fourth);
    assert_eq!(limiter.waiting(), 0);
    drop(third);
    assert!(send_slot(&limiter).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn wait_for_a_slot_ends_at_the_timeout() {
    let limiter = limiter(1, 1, 45);
    let first = send_slot(&limiter).await.unwrap();
    let began = Instant::now();
    assert!(send_slot(&limiter).await.is_none());
    assert_eq!((began.elapsed(), limiter.waiting()), (Duration::from_secs(45), 0));
    assert_eq!(first.permit().wait().await.1, Ok(()));
    let (_, answer) = first.permit().wait().await;
    assert!(answer.unwrap_err().starts_with("451 4.3.2 scan@contoso.com sends more than the 1 messages a minute"));
    assert_eq!((began.elapsed(), limiter.waiting()), (Duration::from_secs(90), 0));
    // What was waited for in vain is not taken.
    assert_eq!(first.permit().wait().await.1, Ok(()));
    assert_eq!(began.elapsed(), Duration::from_secs(45 + 60));
}

#[tokio::test(start_paused = true)]
async fn retries_after_throttling_are_spaced_further_apart() {
    let limiter = limiter(1, 30, 45);
    let (mut permit, _) = send_slot(&limiter).await.unwrap().permit().wait().await;
    let began = Instant::now();
    let mut asked = Vec::new();
    loop {
        let (next, answer) = permit.retry().await;
        if answer.is_err() {
            break;
        }
        asked.push(began.elapsed().as_secs());
        permit = next;
    }
    assert_eq!(asked, [1, 3, 7, 15, 31], "then there is no time left for the next pause");
}

#[tokio::test(start_paused = true)]
async fn places_and_turns_can_be_taken_in_the_background() {
    let limiter = limiter(2, 1, 45);
    let background = limiter.acquire(Class::Background, None).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(100);
    assert!(limiter.acquire(Class::Background, Some(deadline)).await.is_none(), "the last one is for a client");
    assert_eq!((Instant::now(), limiter.waiting()), (deadline, 0));
    assert!(send_slot(&limiter).await.is_some());
    // Without a deadline of its own, its messages are put off as any client's are.
    assert_eq!(background.permit().wait().await.1, Ok(()));
    assert!(background.permit().wait().await.1.is_err());
}

#[tokio::test(start_paused = true)]
async fn messages_in_the_background_have_a_share_of_the_minute() {
    let rate = Arc::new(Rate::of(1));
    let began = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    let classes = [(1, Class::Live), (2, Class::Live), (3, Class::Background), (4, Class::Background)];
    for (number, class) in classes.into_iter().chain((5..10).map(|number| (number, Class::Live))) {
        let (rate, began) = (Arc::clone(&rate), Arc::clone(&began));
        tasks.push(tokio::spawn(async move {
            rate.permit(class).await;
            began.lock().unwrap().push(number);
        }));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*began.lock().unwrap(), [1, 2, 5, 6, 7, 3, 8, 9, 4]);
}

#[tokio::test(start_paused = true)]
async fn device_waits_for_its_rate_without_holding_a_wanted_slot() {
    let limiter = limiter(1, 0, 45);
    let rate = Arc::new(Rate::of(2));
    let device = send_slot(&limiter).await.unwrap().limited_by(Some(Arc::clone(&rate)));
    let began = Instant::now();
    assert_eq!(device.permit().wait().await.1, Ok(()));
    assert_eq!(device.permit().wait().await.1, Ok(()));
    assert_eq!(began.elapsed(), Duration::from_secs(30), "the second half of the minute's messages is spread");
    // Another session waits for its slot.
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { send_slot(&limiter).await }
    });
    let (_, answer) = device.permit().wait().await;
    assert!(answer.unwrap_err().starts_with("451 4.3.2 More than 2 messages a minute"));
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    drop(device);
    assert!(waiting.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn only_what_was_sent_counts_for_the_day() {
    let mailbox = Mailbox::parse("scan@contoso.com").unwrap();
    let limits = SendingLimits { recipients_per_day: 100, ..SendingLimits::default() };
    let limiter = Arc::new(MailboxLimiter::new(mailbox, limits, Duration::ZERO));
    let recipient_counter = send_slot(&limiter).await.unwrap().recipient_counter();
    for (outcome, warned) in [
        (Outcome::Refused("550 no".into()), false),
        (Outcome::Accepted("250 OK".into()), false),
        (Outcome::InDoubt, true),
    ] {
        let report = Report {
            sender: String::new(),
            given_sender: None,
            from_changed: false,
            recipients: Vec::new(),
            recipient_count: 40,
            octets: 0,
            outcome,
        };
        recipient_counter.note(&Event::Message(report));
        let day = format!("{:?}", limiter.day.lock().unwrap());
        assert_eq!(day.contains("warned: Some"), warned, "{day}");
    }
}

#[tokio::test]
async fn acquire_counts_an_arrival_until_it_has_a_slot_or_gives_up() {
    use oxpost_token_store::{Store, Vault};

    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let nodes = Arc::new(Nodes::new(store, "node.example"));
    let limits = SendingLimits { max_connections: 1, ..SendingLimits::default() };
    let mailbox = Mailbox::parse("scan@contoso.com").unwrap();
    let limiter =
        Arc::new(MailboxLimiter::new(mailbox, limits, Duration::from_secs(45)).shared("smtp.example", &nodes));
    let arriving = || limiter.shared.as_ref().unwrap().arriving();
    let mut first = Box::pin(limiter.acquire(Class::Live, None));
    assert!(now(first.as_mut()).is_none());
    assert_eq!(arriving(), 1, "its task does not end before it has decided about this one");
    let _held = first.await.unwrap();
    assert_eq!(arriving(), 0);
    let mut second = Box::pin(limiter.acquire(Class::Live, None));
    assert!(now(second.as_mut()).is_none());
    assert_eq!(arriving(), 1);
    drop(second);
    assert_eq!(arriving(), 0);
}
