//! Who goes, who waits and who is served, without a socket.

use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn table(max: usize, reserved: usize, per_client: Option<usize>) -> Arc<ConnectionTable> {
    Arc::new(ConnectionTable::new(Limits { max, reserved, per_client }))
}

fn arrive(table: &Arc<ConnectionTable>, client: IpAddr) -> Admitted {
    table.arrive(client, Instant::now()).admitted.unwrap()
}

/// A connection whose head should have come by now.
fn late(table: &Arc<ConnectionTable>) -> Admitted {
    table.arrive(A, Instant::now().checked_sub(HEAD_GRACE).unwrap()).admitted.unwrap()
}

/// A connection that serves a request of `kind`.
fn serving(table: &Arc<ConnectionTable>, kind: RequestKind) -> Admitted {
    let admitted = arrive(table, A);
    assert!(matches!(admitted.slot.begin(kind), Begun::Served));
    admitted
}

fn waiting(table: &Arc<ConnectionTable>) -> (Admitted, oneshot::Receiver<bool>) {
    let admitted = arrive(table, A);
    let Begun::Queued(told) = admitted.slot.begin(RequestKind::Control) else { panic!("it has a place") };
    (admitted, told)
}

fn is_closed(admitted: &mut Admitted) -> bool {
    !matches!(admitted.close.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

#[test]
fn a_newcomer_gets_the_place_of_whoever_waits_longest_for_a_head_then_of_the_longest_idle() {
    let table = table(4, 1, None);
    let mut idle = [serving(&table, RequestKind::Control), serving(&table, RequestKind::Control)];
    idle[1].slot.rest(1);
    idle[0].slot.rest(1);
    let mut heads = [late(&table), late(&table)];
    let mut served = Vec::new();
    for _ in 0..2 {
        served.push(serving(&table, RequestKind::Upload));
    }
    assert!(heads.iter_mut().all(is_closed) && !idle.iter_mut().any(is_closed));
    served.push(serving(&table, RequestKind::Upload));
    assert!(is_closed(&mut idle[1]) && !is_closed(&mut idle[0]));
    served.push(serving(&table, RequestKind::Upload));
    assert!(is_closed(&mut idle[0]));
    // All of them serve: none goes.
    let probe = serving(&table, RequestKind::Probe);
    assert!(!served.iter_mut().any(is_closed));
    assert!(probe.slot.ends() && served.iter().all(|admitted| !admitted.slot.ends()));
    let counts = table.counts();
    assert_eq!((counts.regular, counts.reserved, counts.evicted), (4, 1, 4));
    assert_eq!((counts.serving(RequestKind::Upload), counts.serving(RequestKind::Probe)), (4, 1));
}

#[test]
fn a_connection_whose_head_may_be_on_its_way_goes_only_where_the_reserve_is_full() {
    let table = table(2, 1, None);
    let mut young = [arrive(&table, A), arrive(&table, A)];
    let (mut first, mut told) = waiting(&table);
    assert!(!young.iter_mut().any(is_closed) && told.try_recv().is_err());
    // The reserve is full now: the oldest goes, and the one that waits has its place.
    let next = arrive(&table, A);
    assert!(is_closed(&mut young[0]) && !is_closed(&mut young[1]) && told.try_recv().unwrap());
    assert!(!is_closed(&mut first) && next.slot.ends());
}

#[test]
fn a_request_that_waits_gets_the_place_of_a_head_that_has_become_late() {
    let table = table(1, 1, None);
    let mut silent = arrive(&table, A);
    let (admitted, mut told) = waiting(&table);
    std::thread::sleep(HEAD_GRACE);
    admitted.slot.look_again();
    assert!(is_closed(&mut silent) && told.try_recv().unwrap());
}

#[test]
fn what_waits_in_the_reserve_is_served_in_turn_and_the_first_is_refused_when_it_is_full() {
    let table = table(1, 2, None);
    let first = serving(&table, RequestKind::Stream);
    let (_one, mut told_one) = waiting(&table);
    let (mut two, mut told_two) = waiting(&table);
    assert!(told_one.try_recv().is_err());
    let (three, mut told_three) = waiting(&table);
    assert!(!told_one.try_recv().unwrap());
    // Those who are served say that they end with their answer while others wait.
    assert!(first.slot.ends());
    drop(first);
    assert!(told_two.try_recv().unwrap() && told_three.try_recv().is_err());
    // It goes idle, and its place goes to the one that waits.
    two.slot.rest(1);
    assert!(is_closed(&mut two) && told_three.try_recv().unwrap());
    assert!(!three.slot.ends() && three.slot.give_up());
    assert_eq!((table.counts().leaving, table.counts().refused), (1, 1));
}

#[test]
fn whoever_gives_up_is_refused_and_leaves_the_reserve() {
    let table = table(1, 1, None);
    let _stream = serving(&table, RequestKind::Stream);
    let (admitted, _told) = waiting(&table);
    assert!(!admitted.slot.give_up());
    assert_eq!((table.counts().reserved, table.counts().leaving, table.counts().queued), (0, 1, 0));
    let many: Vec<_> = (0..200).map(|_| waiting(&table)).collect();
    assert!(table.counts().leaving <= MAX_LEAVING);
    table.stop();
    assert_eq!(table.counts().queued, 0);
    drop((many, admitted));
    assert_eq!((table.counts().regular, table.counts().reserved, table.counts().leaving), (1, 0, 0));
}

#[test]
fn a_client_at_its_bound_loses_an_idle_connection_of_its_own_or_is_refused() {
    let table = table(8, 1, Some(2));
    let mut idle = serving(&table, RequestKind::Control);
    idle.slot.rest(1);
    let _first = serving(&table, RequestKind::Stream);
    let _second = serving(&table, RequestKind::Stream);
    assert!(is_closed(&mut idle));
    assert!(table.arrive(A, Instant::now()).admitted.is_none());
    assert!(table.arrive(B, Instant::now()).admitted.is_some());
    assert_eq!(table.counts().refused, 1);
}

#[test]
fn a_client_of_ipv6_is_its_network_and_one_of_ipv4_is_the_same_in_both_notations() {
    let key = |text: &str| client_key(text.parse().unwrap());
    assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
    assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn the_log_is_told_at_most_once_a_minute_while_all_places_are_taken() {
    let table = table(2, 2, None);
    let start = Instant::now();
    let report = |after: u64| {
        let arrival = table.arrive(B, start + Duration::from_secs(after));
        arrival.report.map(|counts| counts.to_string())
    };
    let held = [serving(&table, RequestKind::Stream), serving(&table, RequestKind::Upload)];
    assert_eq!(report(1).as_deref(), Some("1 uploads, 1 streams"));
    assert_eq!(report(60), None);
    assert_eq!(report(61).as_deref(), Some("1 uploads, 1 streams"));
    drop(held);
    assert_eq!(report(200), None);
}

#[test]
fn a_connection_that_reads_its_next_request_does_not_rest() {
    let table = table(1, 1, None);
    let admitted = serving(&table, RequestKind::Upload);
    assert!(matches!(admitted.slot.begin(RequestKind::Control), Begun::Served));
    // The word about the first one comes late.
    admitted.slot.rest(1);
    assert_eq!(table.counts().serving(RequestKind::Control), 1);
    admitted.slot.rest(2);
    assert_eq!(table.counts().idle, 1);
}

#[test]
fn nothing_is_left_of_connections_that_have_ended() {
    let table = table(3, 3, Some(50));
    let mut open = Vec::new();
    for step in 0..500_usize {
        let client = if step % 3 == 0 { A } else { B };
        if let Some(admitted) = table.arrive(client, Instant::now()).admitted {
            let kind = RequestKind::ALL[step % RequestKind::ALL.len()];
            let begun = (step % 5 > 0).then(|| admitted.slot.begin(kind));
            if step % 4 == 0 {
                admitted.slot.rest(1);
            }
            open.push((admitted, begun));
        }
        if step % 7 == 0 {
            open.remove(open.len() / 2);
        }
        let counts = table.counts();
        assert!(counts.regular <= 3 && counts.reserved <= 3 && counts.leaving <= MAX_LEAVING, "{counts:?}");
    }
    drop(open);
    let counts = ConnectionCounts { accepted: 0, evicted: 0, refused: 0, ..table.counts() };
    assert_eq!(counts, ConnectionCounts::default());
    let state = table.state();
    assert!(state.entries.is_empty() && state.evictable.is_empty());
    assert!(state.queue.is_empty() && state.clients.is_empty());
}
