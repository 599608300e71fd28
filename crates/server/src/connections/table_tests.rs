//! The rules of the table, without sockets.

use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// A table with `max` regular slots and `reserved` slots in the reserve.
fn table(max: usize, reserved: usize, per_client: Option<usize>) -> Arc<ConnectionTable> {
    Arc::new(ConnectionTable::new(ConnectionLimits { max, reserved, per_client }))
}

/// Admits a new connection from `client`.
fn connect(table: &Arc<ConnectionTable>, client: IpAddr) -> AdmittedConnection {
    table.admit(client, Instant::now()).connection.unwrap()
}

/// A new connection that was accepted so long ago that its first head is late.
fn connect_with_late_head(table: &Arc<ConnectionTable>) -> AdmittedConnection {
    table.admit(A, Instant::now().checked_sub(FIRST_HEAD_GRACE).unwrap()).connection.unwrap()
}

/// A connection that serves a request of `kind`.
fn serving(table: &Arc<ConnectionTable>, kind: RequestKind) -> AdmittedConnection {
    let connection = connect(table, A);
    assert!(matches!(connection.handle.begin_request(kind), RequestAdmission::Served));
    connection
}

/// A connection in the reserve whose request waits for a slot.
fn queued(table: &Arc<ConnectionTable>) -> (AdmittedConnection, oneshot::Receiver<QueueDecision>) {
    let connection = connect(table, A);
    let RequestAdmission::Queued(decision) = connection.handle.begin_request(RequestKind::Control) else {
        panic!("the request is not queued")
    };
    (connection, decision)
}

/// Returns whether the table has closed the connection.
fn is_closed(connection: &mut AdmittedConnection) -> bool {
    !matches!(connection.close.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

#[test]
fn a_new_connection_evicts_the_one_that_waits_longest_for_a_head_then_the_longest_idle() {
    let table = table(4, 1, None);
    let mut idle = [serving(&table, RequestKind::Control), serving(&table, RequestKind::Control)];
    // `idle[1]` becomes idle first, so it is evicted before `idle[0]`.
    idle[1].handle.mark_idle(1);
    idle[0].handle.mark_idle(1);
    let mut without_head = [connect_with_late_head(&table), connect_with_late_head(&table)];
    let mut served = Vec::new();
    for _ in 0..2 {
        served.push(serving(&table, RequestKind::Upload));
    }
    assert!(without_head.iter_mut().all(is_closed));
    assert!(!idle.iter_mut().any(is_closed));
    served.push(serving(&table, RequestKind::Upload));
    assert!(is_closed(&mut idle[1]));
    assert!(!is_closed(&mut idle[0]));
    served.push(serving(&table, RequestKind::Upload));
    assert!(is_closed(&mut idle[0]));
    // Every regular connection serves a request, so no connection is evicted.
    let probe = serving(&table, RequestKind::Probe);
    assert!(!served.iter_mut().any(is_closed));
    assert!(probe.handle.must_close());
    assert!(served.iter().all(|connection| !connection.handle.must_close()));
    let counts = table.counts();
    assert_eq!((counts.regular, counts.reserved, counts.evicted), (4, 1, 4));
    assert_eq!((counts.serving(RequestKind::Upload), counts.serving(RequestKind::Probe)), (4, 1));
}

#[test]
fn a_new_connection_without_a_head_is_evicted_only_if_the_reserve_is_full() {
    // 2 regular slots, 1 in the reserve.
    let table = table(2, 1, None);
    let mut without_head = [connect(&table, A), connect(&table, A)];
    let (mut first, mut decision) = queued(&table);
    assert!(!without_head.iter_mut().any(is_closed));
    assert!(decision.try_recv().is_err());
    // The reserve is full now. So the oldest regular connection is evicted, and the queued request gets the slot of
    // that connection.
    let next = connect(&table, A);
    assert!(is_closed(&mut without_head[0]));
    assert!(!is_closed(&mut without_head[1]));
    assert_eq!(decision.try_recv(), Ok(QueueDecision::Serve));
    assert!(!is_closed(&mut first));
    assert!(next.handle.must_close());
}

#[test]
fn a_queued_request_gets_the_slot_of_a_connection_whose_head_is_late() {
    let table = table(1, 1, None);
    let mut silent = connect(&table, A);
    let (connection, mut decision) = queued(&table);
    std::thread::sleep(FIRST_HEAD_GRACE);
    connection.handle.retry_queue();
    assert!(is_closed(&mut silent));
    assert_eq!(decision.try_recv(), Ok(QueueDecision::Serve));
}

#[test]
fn queued_requests_are_served_in_order_and_the_first_is_refused_when_the_reserve_is_full() {
    let table = table(1, 2, None);
    let streaming = serving(&table, RequestKind::Stream);
    let (_one, mut decision_one) = queued(&table);
    let (mut two, mut decision_two) = queued(&table);
    assert!(decision_one.try_recv().is_err());
    let (three, mut decision_three) = queued(&table);
    assert_eq!(decision_one.try_recv(), Ok(QueueDecision::Refuse));
    // While requests are queued, a regular connection is closed after its response.
    assert!(streaming.handle.must_close());
    drop(streaming);
    assert_eq!(decision_two.try_recv(), Ok(QueueDecision::Serve));
    assert!(decision_three.try_recv().is_err());
    // Connection `two` becomes idle, so it is closed, and the queued request of connection `three` gets the slot.
    two.handle.mark_idle(1);
    assert!(is_closed(&mut two));
    assert_eq!(decision_three.try_recv(), Ok(QueueDecision::Serve));
    // `cancel_wait` returns true: connection `three` has a regular slot, so its request is not refused.
    assert!(!three.handle.must_close() && three.handle.cancel_wait());
    assert_eq!((table.counts().closing, table.counts().refused), (1, 1));
}

#[test]
fn a_request_that_stops_waiting_is_refused_and_leaves_the_reserve() {
    let table = table(1, 1, None);
    let _stream = serving(&table, RequestKind::Stream);
    let (connection, _decision) = queued(&table);
    assert!(!connection.handle.cancel_wait());
    assert_eq!((table.counts().reserved, table.counts().closing, table.counts().queued), (0, 1, 0));
    // The reserve has one slot, so each new connection makes the table refuse the queued request before it.
    let many: Vec<_> = (0..200).map(|_| queued(&table)).collect();
    assert!(table.counts().closing <= MAX_CLOSING);
    table.refuse_queued();
    assert_eq!(table.counts().queued, 0);
    drop((many, connection));
    assert_eq!((table.counts().regular, table.counts().reserved, table.counts().closing), (1, 0, 0));
}

#[test]
fn a_client_at_its_limit_loses_an_idle_connection_of_its_own_or_is_refused() {
    // A client may have 2 connections. The second stream is the third connection, so the idle connection is evicted.
    let table = table(8, 1, Some(2));
    let mut idle = serving(&table, RequestKind::Control);
    idle.handle.mark_idle(1);
    let _first = serving(&table, RequestKind::Stream);
    let _second = serving(&table, RequestKind::Stream);
    assert!(is_closed(&mut idle));
    assert!(table.admit(A, Instant::now()).connection.is_none());
    assert!(table.admit(B, Instant::now()).connection.is_some());
    assert_eq!(table.counts().refused, 1);
}

#[test]
fn an_ipv6_client_is_counted_by_its_network_and_a_mapped_ipv4_address_as_ipv4() {
    let key = |text: &str| client_key(text.parse().unwrap());
    assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
    assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn a_report_is_made_at_most_once_a_minute_while_all_slots_are_taken() {
    let table = table(2, 2, None);
    let start = Instant::now();
    let report = |seconds: u64| {
        let admission = table.admit(B, start + Duration::from_secs(seconds));
        admission.report.map(|counts| counts.to_string())
    };
    let held = [serving(&table, RequestKind::Stream), serving(&table, RequestKind::Upload)];
    assert_eq!(report(1).as_deref(), Some("1 uploads, 1 streams"));
    assert_eq!(report(60), None);
    assert_eq!(report(61).as_deref(), Some("1 uploads, 1 streams"));
    drop(held);
    assert_eq!(report(200), None);
}

#[test]
fn a_connection_that_reads_its_next_request_is_not_idle() {
    let table = table(1, 1, None);
    let connection = serving(&table, RequestKind::Upload);
    assert!(matches!(connection.handle.begin_request(RequestKind::Control), RequestAdmission::Served));
    // This call for the first request comes late: the second request was already read.
    connection.handle.mark_idle(1);
    assert_eq!(table.counts().serving(RequestKind::Control), 1);
    connection.handle.mark_idle(2);
    assert_eq!(table.counts().idle, 1);
}

#[test]
fn nothing_is_left_of_connections_that_have_ended() {
    let table = table(3, 3, Some(50));
    // Different clients and kinds of requests. Some connections send no request, some become idle, and some end early.
    let mut open = Vec::new();
    for step in 0..500_usize {
        let client = if step % 3 == 0 { A } else { B };
        if let Some(connection) = table.admit(client, Instant::now()).connection {
            let kind = RequestKind::ALL[step % RequestKind::ALL.len()];
            let admission = (step % 5 > 0).then(|| connection.handle.begin_request(kind));
            if step % 4 == 0 {
                connection.handle.mark_idle(1);
            }
            open.push((connection, admission));
        }
        if step % 7 == 0 {
            open.remove(open.len() / 2);
        }
        let counts = table.counts();
        assert!(counts.regular <= 3 && counts.reserved <= 3 && counts.closing <= MAX_CLOSING, "{counts:?}");
    }
    drop(open);
    let counts = ConnectionCounts { accepted: 0, evicted: 0, refused: 0, ..table.counts() };
    assert_eq!(counts, ConnectionCounts::default());
    let state = table.state();
    assert!(state.entries.is_empty() && state.evictable.is_empty());
    assert!(state.queue.is_empty() && state.clients.is_empty());
}
