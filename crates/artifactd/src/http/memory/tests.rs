//! The memory with time that stands still until it is moved.

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

const KIB: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest body; what every body has beside it is a quarter of the whole and what is left.
const LARGEST: u64 = 1024 * KIB;

/// A small part of 2 MiB, a large one of 5 MiB, and the last of 1 MiB; shares of half of it.
fn memory() -> BodyMemory {
    BodyMemory::new(8 * 1024 * KIB, LARGEST, PATIENCE)
}

/// A body that has received so much.
async fn received(memory: &BodyMemory, tenant: &str, bytes: u64) -> BodyPermit {
    let mut permit = memory.begin(tenant);
    permit.claim(bytes, bytes).await.unwrap();
    permit
}

/// Goes on where it waits for memory.
fn goes_on(mut permit: BodyPermit, to: u64) -> JoinHandle<Result<BodyPermit, Ended>> {
    tokio::spawn(async move { permit.claim(to, 0).await.map(|()| permit) })
}

/// Receives nothing more until it is ended.
fn stands_still(mut permit: BodyPermit) -> JoinHandle<Result<(), Ended>> {
    tokio::spawn(async move { permit.receive(std::future::pending()).await })
}

/// Lets everything happen that needs no time.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_not_claimed() {
    let memory = memory();
    let mut all = Vec::new();
    for number in 0..400 {
        all.push(received(&memory, &format!("tenant {}", number % 2), 1).await);
    }
    // Another one takes its whole share all the same.
    let large = received(&memory, "other", LARGEST).await;
    let larger = received(&memory, "other", LARGEST).await;
    drop((all, large, larger));
    let state = memory.lock();
    assert!(state.is_idle(), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_body_never_waits_behind_long_ones() {
    let memory = memory();
    let mut all = Vec::new();
    for tenant in ["a", "b", "c"] {
        for _ in 0..4 {
            all.push(goes_on(memory.begin(tenant), LARGEST));
        }
    }
    settle().await;
    assert!(all.iter().any(|body| !body.is_finished()), "there is memory for all of them");
    for tenant in ["a", "b", "c", "d"] {
        let short = goes_on(memory.begin(tenant), SMALL_BODY);
        settle().await;
        assert!(short.is_finished(), "{tenant}");
        drop(short.await.unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_takes_its_share_and_others_do_not_wait() {
    let memory = memory();
    let greedy: Vec<_> = (0..10).map(|_| goes_on(memory.begin("greedy"), LARGEST)).collect();
    settle().await;
    assert!(greedy.iter().any(|body| !body.is_finished()));
    let modest = [goes_on(memory.begin("modest"), LARGEST), goes_on(memory.begin("modest"), LARGEST)];
    settle().await;
    assert!(modest.iter().all(JoinHandle::is_finished));
    let few = greedy.iter().filter(|body| body.is_finished()).count() as u64;
    assert!(few * LARGEST <= 4 * LARGEST, "{few} of the greedy tenant's");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_hold_a_part_and_wait_for_more_all_come_to_their_end() {
    let memory = memory();
    let mut all = Vec::new();
    for number in 0..40 {
        let memory = memory.clone();
        all.push(tokio::spawn(async move {
            let mut permit = memory.begin(["a", "b", "c"][number % 3]);
            for step in 1..=16 {
                permit.claim(step * LARGEST / 16, LARGEST / 16).await?;
                sleep(Duration::from_millis(1)).await;
            }
            Ok::<(), Ended>(())
        }));
    }
    for body in all {
        body.await.unwrap().unwrap();
    }
    assert!(memory.lock().is_idle());
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_memory_in_time_is_told_so_and_leaves_nothing_behind() {
    let memory = memory();
    // All of the share is held by bodies that were read and are being worked on, and the last part, too.
    let held: Vec<_> = (0..10).map(|_| goes_on(memory.begin("a"), LARGEST)).collect();
    settle().await;
    let begun = Instant::now();
    let late = goes_on(memory.begin("a"), LARGEST);
    assert_eq!(late.await.unwrap().err(), Some(Ended::NoMemory));
    assert!(begun.elapsed() <= PATIENCE + LOOK, "{:?}", begun.elapsed());
    for body in held {
        drop(body.await.unwrap());
    }
    assert!(memory.lock().is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_ended_once_another_waits_and_not_before() {
    let memory = memory();
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(stands_still(received(&memory, "a", 600 * KIB).await));
    }
    sleep(GRACE * 3).await;
    assert!(slow.iter().all(|body| !body.is_finished()), "nobody waits for their memory");
    let begun = Instant::now();
    // Its first 64 KiB are there; the rest would pass the share, twice.
    let first = received(&memory, "a", LARGEST).await;
    let second = received(&memory, "a", LARGEST).await;
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    settle().await;
    let ended = slow.iter().filter(|body| body.is_finished()).count();
    assert!((1..4).contains(&ended), "{ended} of them were ended");
    drop((first, second));
    for body in slow.into_iter().filter(JoinHandle::is_finished) {
        assert_eq!(body.await.unwrap(), Err(Ended::TooSlow));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_fast_enough_is_not_ended_for_others() {
    let memory = memory();
    let mut steady = received(&memory, "a", 200 * KIB).await;
    let held: Vec<_> = (0..10).map(|_| goes_on(memory.begin("a"), LARGEST)).collect();
    for step in 0..20 {
        let piece = steady.receive(sleep(Duration::from_secs(1))).await;
        assert_eq!(piece, Ok(()), "after {step} seconds");
        // Within what it holds already.
        steady.claim(200 * KIB, SLOWEST_BYTES_A_SECOND).await.unwrap();
    }
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_body_alone_may_be_behind_for_as_long_as_the_patience_lasts() {
    let memory = memory();
    let begun = Instant::now();
    let mut permit = received(&memory, "a", 100 * KIB).await;
    let mut total = 100 * KIB;
    let ended = loop {
        match permit.receive(sleep(Duration::from_secs(1))).await {
            Ok(()) => permit
                .claim(
                    {
                        total += 1;
                        total
                    },
                    1,
                )
                .await
                .unwrap(),
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended, Ended::TooSlow);
    // What came fast is no credit for later.
    let took = begun.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_waiting_is_forgotten() {
    let memory = memory();
    let held: Vec<_> = (0..10).map(|_| goes_on(memory.begin("a"), LARGEST)).collect();
    settle().await;
    for body in held {
        body.abort();
        let _ = body.await;
    }
    assert!(memory.lock().is_idle());
}
