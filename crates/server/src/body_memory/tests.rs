//! Tests of the memory with a paused clock.

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

const KIB: u64 = 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body, which is also the size of the overflow part.
const LARGEST: u64 = 1024 * KIB;

/// Small part: 2 MiB. Large part: 5 MiB. Overflow part: 1 MiB. A tenant may use half of the small and of the large
/// part.
fn memory() -> BodyMemory {
    BodyMemory::new(8 * 1024 * KIB, LARGEST, TIMEOUT)
}

/// Starts a body of which `bytes` bytes have arrived.
async fn received(memory: &BodyMemory, tenant: &str, bytes: u64) -> BodyPermit {
    let mut permit = memory.start_body(tenant);
    permit.reserve(bytes, bytes).await.unwrap();
    permit
}

/// Reserves memory for `received` bytes in a task, and waits for the memory if necessary. `received_now` is 0, so the
/// lag of the body does not change.
fn spawn_reserve(mut permit: BodyPermit, received: u64) -> JoinHandle<Result<BodyPermit, BodyAbort>> {
    tokio::spawn(async move { permit.reserve(received, 0).await.map(|()| permit) })
}

/// Waits for a chunk that never arrives, until the body is aborted.
fn spawn_receive(mut permit: BodyPermit) -> JoinHandle<Result<(), BodyAbort>> {
    tokio::spawn(async move { permit.receive(std::future::pending()).await })
}

/// Runs all tasks until they wait for time or for memory.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_not_sent_are_not_reserved() {
    let memory = memory();
    let mut all = Vec::new();
    // Each of these bodies may become large, but only 1 byte of it has arrived.
    for number in 0..400 {
        all.push(received(&memory, &format!("tenant {}", number % 2), 1).await);
    }
    // Another tenant still gets all the memory that a tenant may use.
    let first_large = received(&memory, "other", LARGEST).await;
    let second_large = received(&memory, "other", LARGEST).await;
    drop((all, first_large, second_large));
    let state = memory.lock();
    assert!(state.is_idle(), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_body_never_waits_behind_long_ones() {
    let memory = memory();
    let mut all = Vec::new();
    for tenant in ["a", "b", "c"] {
        for _ in 0..4 {
            all.push(spawn_reserve(memory.start_body(tenant), LARGEST));
        }
    }
    settle().await;
    assert!(
        all.iter().any(|body| !body.is_finished()),
        "no long body waits for memory, so the short ones are not tested"
    );
    for tenant in ["a", "b", "c", "d"] {
        let short = spawn_reserve(memory.start_body(tenant), SMALL_BODY);
        settle().await;
        assert!(short.is_finished(), "{tenant}");
        drop(short.await.unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_gets_up_to_its_limit_and_others_do_not_wait() {
    let memory = memory();
    let greedy: Vec<_> = (0..10).map(|_| spawn_reserve(memory.start_body("greedy"), LARGEST)).collect();
    settle().await;
    assert!(greedy.iter().any(|body| !body.is_finished()));
    let modest = [
        spawn_reserve(memory.start_body("modest"), LARGEST),
        spawn_reserve(memory.start_body("modest"), LARGEST),
    ];
    settle().await;
    assert!(modest.iter().all(JoinHandle::is_finished));
    // Half of the large part has space for 2 of these bodies, and the overflow part for 1.
    let granted = greedy.iter().filter(|body| body.is_finished()).count();
    assert!(granted <= 3, "{granted} bodies of the greedy tenant have memory");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_hold_memory_and_wait_for_more_all_complete() {
    let memory = memory();
    let mut all = Vec::new();
    // 40 bodies of 1 MiB compete for 8 MiB. Each body reserves its memory in 16 steps.
    for number in 0..40 {
        let memory = memory.clone();
        all.push(tokio::spawn(async move {
            let mut permit = memory.start_body(["a", "b", "c"][number % 3]);
            for step in 1..=16 {
                permit.reserve(step * LARGEST / 16, LARGEST / 16).await?;
                sleep(Duration::from_millis(1)).await;
            }
            Ok::<(), BodyAbort>(())
        }));
    }
    for body in all {
        body.await.unwrap().unwrap();
    }
    assert!(memory.lock().is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_gets_no_memory_in_time_is_aborted_and_leaves_nothing_behind() {
    let memory = memory();
    // Bodies that were read hold all the memory that the tenant may use, and the overflow part too. The bodies keep the
    // memory while they are processed.
    let held: Vec<_> = (0..10).map(|_| spawn_reserve(memory.start_body("a"), LARGEST)).collect();
    settle().await;
    let started = Instant::now();
    let late = spawn_reserve(memory.start_body("a"), LARGEST);
    assert_eq!(late.await.unwrap().err(), Some(BodyAbort::NoMemory));
    assert!(started.elapsed() <= TIMEOUT + CHECK_INTERVAL, "{:?}", started.elapsed());
    for body in held {
        drop(body.await.unwrap());
    }
    assert!(memory.lock().is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_aborted_once_another_waits_and_not_before() {
    let memory = memory();
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(spawn_receive(received(&memory, "a", 600 * KIB).await));
    }
    sleep(LAG_LIMIT * 3).await;
    assert!(
        slow.iter().all(|body| !body.is_finished()),
        "a slow body was aborted although no other body waits"
    );
    let started = Instant::now();
    // The slow bodies hold nearly all the memory that the tenant may use. The first body gets the overflow part. The
    // second one needs memory of the slow bodies.
    let first = received(&memory, "a", LARGEST).await;
    let second = received(&memory, "a", LARGEST).await;
    assert!(started.elapsed() < LAG_LIMIT, "{:?}", started.elapsed());
    settle().await;
    let aborted = slow.iter().filter(|body| body.is_finished()).count();
    // Aborting some of the slow bodies frees enough memory, so not all of them are aborted.
    assert!((1..4).contains(&aborted), "{aborted} of 4 slow bodies were aborted");
    drop((first, second));
    for body in slow.into_iter().filter(JoinHandle::is_finished) {
        assert_eq!(body.await.unwrap(), Err(BodyAbort::TooSlow));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_fast_enough_is_not_aborted_for_others() {
    let memory = memory();
    let mut steady = received(&memory, "a", 200 * KIB).await;
    let held: Vec<_> = (0..10).map(|_| spawn_reserve(memory.start_body("a"), LARGEST)).collect();
    for step in 0..20 {
        let chunk = steady.receive(sleep(Duration::from_secs(1))).await;
        assert_eq!(chunk, Ok(()), "after {step} seconds");
        // The body holds this amount already, so it does not wait for memory.
        steady.reserve(200 * KIB, MIN_BYTES_PER_SECOND).await.unwrap();
    }
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_body_alone_may_lag_until_the_timeout() {
    let memory = memory();
    let started = Instant::now();
    let mut permit = received(&memory, "a", 100 * KIB).await;
    let mut total = 100 * KIB;
    let aborted = loop {
        // One byte arrives each second. This is far below the minimum rate.
        match permit.receive(sleep(Duration::from_secs(1))).await {
            Ok(()) => {
                total += 1;
                permit.reserve(total, 1).await.unwrap();
            }
            Err(aborted) => break aborted,
        }
    };
    assert_eq!(aborted, BodyAbort::TooSlow);
    // The bytes that arrived at the beginning give the body no extra time.
    let took = started.elapsed();
    assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_while_it_waits_leaves_nothing_behind() {
    let memory = memory();
    // The first bodies get memory, and the others wait.
    let held: Vec<_> = (0..10).map(|_| spawn_reserve(memory.start_body("a"), LARGEST)).collect();
    settle().await;
    for body in held {
        body.abort();
        let _ = body.await;
    }
    assert!(memory.lock().is_idle());
}
