//! Which session waits, which one frees its slot, and what becomes of a slot that no session takes any more.

use std::future::poll_fn;
use std::task::Waker;
use std::time::Duration;

use super::*;

fn now<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn slots(capacity: usize) -> Arc<FairSlots> {
    Arc::new(FairSlots::new(capacity))
}

#[tokio::test]
async fn slot_of_a_waiter_that_left_goes_to_the_next() {
    let slots = slots(1);
    let first = slots.acquire(Class::Live).await;
    let mut second = Box::pin(slots.acquire(Class::Live));
    let mut third = Box::pin(slots.acquire(Class::Background));
    let mut fourth = Box::pin(slots.acquire(Class::Live));
    assert!(now(second.as_mut()).is_none() && now(third.as_mut()).is_none() && now(fourth.as_mut()).is_none());
    assert_eq!(slots.waiting(), 3);
    // The second one is given the slot, and never looks.
    drop(first);
    drop(second);
    assert_eq!(slots.waiting(), 1, "the fourth has it now: those who are connected come first");
    drop(third);
    let fourth = now(fourth.as_mut()).unwrap();
    assert_eq!(slots.waiting(), 0);
    drop(fourth);
    assert!(now(Box::pin(slots.acquire(Class::Background)).as_mut()).is_some());
}

#[tokio::test(start_paused = true)]
async fn as_many_make_room_as_wait_and_the_longest_idle_first() {
    let slots = slots(3);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(slots.acquire(Class::Live).await);
    }
    let due = |seconds| Instant::now() + Duration::from_secs(seconds);
    let dues = [due(7), due(5), due(6)];
    let must = |held: &mut Vec<HeldSlot>| {
        let mut cx = Context::from_waker(Waker::noop());
        let polled: Vec<bool> =
            held.iter_mut().zip(dues).map(|(held, due)| held.poll_must_make_room(due, &mut cx)).collect();
        // Those that were asked first did not know of the others.
        let again: Vec<bool> =
            held.iter_mut().zip(dues).map(|(held, due)| held.poll_must_make_room(due, &mut cx)).collect();
        assert!(polled.len() == again.len());
        again
    };
    assert_eq!(must(&mut held), [false; 3]);
    let mut first = Box::pin(slots.acquire(Class::Live));
    assert!(now(first.as_mut()).is_none());
    assert_eq!(must(&mut held), [false, true, false]);
    let mut second = Box::pin(slots.acquire(Class::Live));
    assert!(now(second.as_mut()).is_none());
    assert_eq!(must(&mut held), [false, true, true]);
    // What is on its way to be free counts, also while its server is said goodbye to.
    held[1].mark_leaving();
    held[1].busy();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(!held[0].poll_must_make_room(dues[0], &mut cx) && held[2].poll_must_make_room(dues[2], &mut cx));
    // One that is in use is not idle.
    held[2].busy();
    assert!(held[0].poll_must_make_room(dues[0], &mut cx));
    drop(held.remove(1));
    let _first = now(first.as_mut()).unwrap();
    assert!(held[0].poll_must_make_room(dues[0], &mut cx), "the second one still waits");
    drop(second);
    assert!(!held[0].poll_must_make_room(dues[0], &mut cx));
}

#[tokio::test]
async fn idle_holder_is_woken_when_a_waiter_arrives() {
    let slots = slots(1);
    let mut held = slots.acquire(Class::Live).await;
    let due = Instant::now();
    let told = tokio::spawn(async move {
        poll_fn(|cx| if held.poll_must_make_room(due, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        held
    });
    tokio::task::yield_now().await;
    assert!(!told.is_finished());
    let wanted = tokio::spawn({
        let slots = Arc::clone(&slots);
        async move { slots.is_wanted().await }
    });
    tokio::task::yield_now().await;
    assert!(!wanted.is_finished());
    let waiting = tokio::spawn({
        let slots = Arc::clone(&slots);
        async move { slots.acquire(Class::Live).await }
    });
    wanted.await.unwrap();
    drop(told.await.unwrap());
    waiting.await.unwrap();
}

#[tokio::test]
async fn waiter_at_another_node_ends_one_idle_session() {
    use super::super::shared::state::ByClass;

    let slots = Arc::new(FairSlots::shared(Arc::new(Notify::new())));
    let (mut first, mut second) = (Box::pin(slots.acquire(Class::Live)), Box::pin(slots.acquire(Class::Live)));
    assert!(now(first.as_mut()).is_none() && now(second.as_mut()).is_none());
    slots.count();
    slots.granted(ByClass::new(2, 0), 1);
    let (mut first, mut second) = (now(first.as_mut()).unwrap(), now(second.as_mut()).unwrap());
    let due = Instant::now();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.poll_must_make_room(due, &mut cx));
    first.mark_leaving();
    drop(first);
    let later = due + Duration::from_secs(1);
    // Neither before the end is reported, nor while the answer is on its way.
    assert!(!second.poll_must_make_room(later, &mut cx));
    slots.count();
    assert!(!second.poll_must_make_room(later, &mut cx));
    slots.granted(ByClass::new(1, 0), 0);
    assert!(!second.poll_must_make_room(later, &mut cx));
    // Another one comes there.
    slots.count();
    slots.granted(ByClass::new(1, 0), 1);
    assert!(second.poll_must_make_room(later, &mut cx));
}
