//! Bodies are hashed, limited and split while they are read.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::task::{Context, Poll, Waker};

use artifact_store_core::{
    Body, BodyStream, BoxError, Bytes, Digest, ErrorKind, InMemoryBody, MAX_PIECE_BYTES, OpenBody,
    StoreError, TreeHasher,
};
use futures_util::stream;
use proptest::prelude::*;

fn streamed(pieces: &[Vec<u8>]) -> Body {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, BoxError>(Bytes::from(piece.clone()))).collect();
    Body::from_stream(stream::iter(pieces))
}

fn open_stream(body: Body) -> Result<BodyStream, StoreError> {
    body.open(u64::MAX).map(OpenBody::into_stream)
}

/// Reads to the end, or to the first error.
async fn read(mut stream: BodyStream) -> Result<(Vec<u8>, Digest, u64), StoreError> {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await? {
        assert!((1..=MAX_PIECE_BYTES).contains(&piece.len()));
        all.extend_from_slice(&piece);
    }
    let completed = stream.finish()?;
    Ok((all, completed.digest, completed.size))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_known_length_over_the_limit_is_refused_before_a_byte_is_read() {
    let unread = stream::poll_fn(|_| -> Poll<Option<Result<Bytes, BoxError>>> { panic!("a byte was read") });
    let body = Body::from_stream(unread).with_length(11).with_limit(10);
    assert_eq!(open_stream(body).unwrap_err().kind(), ErrorKind::TooLarge { limit: 10 });
    let in_memory = Body::from("eleven bytes").with_limit(11);
    assert_eq!(in_memory.open(u64::MAX).unwrap_err().kind(), ErrorKind::TooLarge { limit: 11 });
}

#[test]
fn of_several_limits_the_smallest_holds() {
    let body = Body::from("12345").with_limit(9).with_limit(4).with_limit(7);
    assert_eq!(body.limit(), 4);
    assert_eq!(body.open(100).unwrap_err().kind(), ErrorKind::TooLarge { limit: 4 });
    assert_eq!(Body::from("12345").open(3).unwrap_err().kind(), ErrorKind::TooLarge { limit: 3 });
    assert!(Body::from("12345").with_limit(5).open(5).is_ok());
}

#[test]
fn a_failed_body_cannot_be_read_further_or_finished() {
    run(async {
        let mut stream = open_stream(streamed(&[vec![1; 10], vec![2; 10]]).with_limit(15)).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 10);
        assert_eq!(stream.next().await.unwrap_err().kind(), ErrorKind::TooLarge { limit: 15 });
        assert!(stream.next().await.is_err());
        assert!(stream.finish().is_err());
    });
}

#[test]
fn a_body_that_was_not_read_to_its_end_cannot_be_finished() {
    run(async {
        let mut stream = open_stream(Body::from("some bytes")).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "some bytes");
        assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::Backend);
    });
}

#[test]
fn a_failing_source_is_the_cause_of_the_error() {
    run(async {
        let pieces = [Ok(Bytes::from("x")), Err(BoxError::from("the wire was cut"))];
        let error = read(open_stream(Body::from_stream(stream::iter(pieces))).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "the wire was cut");
    });
}

#[test]
fn bytes_in_memory_are_streamed_without_a_copy() {
    run(async {
        let bytes = Bytes::from(vec![7; 3 * MAX_PIECE_BYTES]);
        let mut stream = open_stream(Body::from_bytes(bytes.clone())).unwrap();
        for n in 0..3 {
            let chunk = stream.next_chunk(MAX_PIECE_BYTES).await.unwrap().unwrap();
            assert_eq!(chunk.as_ptr(), bytes[n * MAX_PIECE_BYTES..].as_ptr());
        }
        assert!(stream.next_chunk(MAX_PIECE_BYTES).await.unwrap().is_none());
    });
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..12)
}

proptest! {
    #[test]
    fn what_is_read_is_hashed_and_counted(pieces in pieces()) {
        let all = pieces.concat();
        let (read, digest, size) = run(read(open_stream(streamed(&pieces)).unwrap())).unwrap();
        prop_assert_eq!(digest, Digest::of(&all));
        prop_assert_eq!(size, all.len() as u64);
        prop_assert_eq!(read, all);
    }

    #[test]
    fn chunks_have_the_requested_size_whatever_the_pieces(pieces in pieces(), size in 1..5000_usize) {
        let all = pieces.concat();
        run(async {
            let mut stream = open_stream(streamed(&pieces)).unwrap();
            let mut chunks = Vec::new();
            while let Some(chunk) = stream.next_chunk(size).await.unwrap() {
                chunks.push(chunk);
            }
            assert!(chunks.iter().rev().skip(1).all(|chunk| chunk.len() == size));
            assert!(chunks.last().is_none_or(|chunk| (1..=size).contains(&chunk.len())));
            assert_eq!(chunks.concat(), all);
            assert_eq!(stream.finish().unwrap().digest, Digest::of(&all));
        });
    }

    #[test]
    fn a_limit_lets_through_exactly_what_fits(pieces in pieces(), limit in 0..20_000_u64) {
        let length = pieces.concat().len() as u64;
        let result = run(read(open_stream(streamed(&pieces).with_limit(limit)).unwrap()));
        match result {
            Ok(_) => prop_assert!(length <= limit),
            Err(error) => {
                prop_assert!(length > limit);
                prop_assert_eq!(error.kind(), ErrorKind::TooLarge { limit });
            }
        }
    }

    #[test]
    fn a_body_is_accepted_only_with_its_announced_length(pieces in pieces(), off in -3..4_i64) {
        let length = pieces.concat().len() as u64;
        let announced = length.saturating_add_signed(off);
        let result = run(async { read(open_stream(streamed(&pieces).with_length(announced))?).await });
        prop_assert_eq!(result.is_ok(), announced == length);
    }
}

#[test]
fn bytes_in_memory_must_be_as_long_as_announced() {
    assert!(Body::from("12345").with_length(5).open(u64::MAX).is_ok());
    for announced in [0, 4, 6] {
        let error = Body::from("12345").with_length(announced).open(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_stream_yields_even_if_its_source_is_always_ready() {
    run(async {
        let endless = stream::repeat_with(|| Ok::<_, BoxError>(Bytes::new()));
        let mut stream = open_stream(Body::from_stream(endless)).unwrap();
        // The source returns only empty pieces, so the future must become pending.
        assert!(futures_util::FutureExt::now_or_never(stream.next()).is_none());
    });
}

#[test]
fn another_stores_error_keeps_its_kind() {
    run(async {
        let pieces = [Ok(Bytes::from("x")), Err(StoreError::unavailable("the other store is down"))];
        let error = read(open_stream(Body::from_stream(stream::iter(pieces))).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    });
}

#[test]
fn the_announced_length_and_digest_are_known_before_the_end() {
    let digest = Digest::of(b"12345");
    let body = streamed(&[b"12345".to_vec()]).with_digest(digest).with_length(5);
    assert_eq!((body.announced_digest(), body.length()), (Some(digest), Some(5)));
    let stream = open_stream(body).unwrap();
    assert_eq!((stream.announced_digest(), stream.announced_length()), (Some(digest), Some(5)));
}

#[test]
fn no_debug_output_of_a_body_shows_its_bytes() {
    let secret = || Body::from("hunter2");
    let shown = [
        format!("{:?}", secret()),
        format!("{:?}", secret().open(u64::MAX).unwrap()),
        format!("{:?}", secret().open(u64::MAX).unwrap().into_stream()),
    ];
    for shown in shown {
        // The bytes must appear neither as text nor as a list of numbers.
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }
}

fn in_memory(body: Body) -> InMemoryBody {
    let OpenBody::InMemory(body) = body.open(u64::MAX).unwrap() else { panic!("a stream") };
    body
}

#[test]
fn a_body_that_is_hashed_while_it_is_written_has_the_same_digest_and_tree_on_any_threads() {
    type Work = Box<dyn FnOnce() + Send>;
    let spawns: [Option<fn(Work)>; 4] = [
        None,
        Some(|work| work()),
        Some(|work| drop(std::thread::spawn(work))),
        // There is no free thread before the end.
        Some(|work| {
            drop(std::thread::spawn(|| {
                std::thread::sleep(std::time::Duration::from_secs(1));
                work();
            }));
        }),
    ];
    for size in [0, 1, 16 * 1024, 3 * MAX_PIECE_BYTES + 5] {
        let bytes = vec![7; size];
        let (_, expected, expected_tree) = in_memory(Body::from(bytes.clone())).finish_with_tree().unwrap();
        for spawn in spawns {
            let mut written = Vec::new();
            let finished = in_memory(Body::from(bytes.clone())).finish_while_writing(spawn, |piece| {
                written.extend_from_slice(piece);
                Ok(())
            });
            assert_eq!(finished.unwrap(), (expected, expected_tree.clone()));
            assert_eq!(written, bytes);
        }
    }
}

#[test]
fn a_body_that_is_hashed_while_it_is_written_fails_for_another_digest_or_a_failed_write() {
    let body = Body::from("bytes").with_digest(Digest::of(b"other"));
    let mismatch = in_memory(body).finish_while_writing(None::<fn(_)>, |_| Ok(()));
    assert!(matches!(mismatch.unwrap_err().kind(), ErrorKind::DigestMismatch { .. }));
    let failed = in_memory(Body::from("bytes"))
        .finish_while_writing(None::<fn(_)>, |_| Err(StoreError::unavailable("the disk is full")));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_driver_may_compute_the_tree_of_a_stream_itself_but_only_of_all_bytes() {
    let pieces = [vec![1; 100_000], vec![2; 200_000]];
    let (_, expected, expected_tree) = in_memory(Body::from(pieces.concat())).finish_with_tree().unwrap();
    for skipped in [0, 1] {
        let mut body = open_stream(streamed(&pieces)).unwrap();
        let mut hasher = TreeHasher::new();
        while let Some(piece) = run(body.next()).unwrap() {
            hasher.update(&piece[skipped..]);
        }
        match body.finish_with_hasher(hasher) {
            Ok(finished) => assert_eq!((finished, skipped), ((expected, expected_tree.clone()), 0)),
            Err(error) => assert_eq!((error.kind(), skipped), (ErrorKind::Backend, 1)),
        }
    }
}

#[test]
fn a_body_in_memory_yields_between_the_pieces_that_it_hashes() {
    let bytes = vec![7; 2 * MAX_PIECE_BYTES + 1];
    let open = |digest| match Body::from_bytes(bytes.clone()).with_digest(digest).open(u64::MAX).unwrap() {
        OpenBody::InMemory(body) => body,
        OpenBody::Stream(_) => panic!("bytes in memory are a stream"),
    };
    let mut future = Box::pin(open(Digest::of(&bytes)).finish_in_pieces());
    let mut context = Context::from_waker(Waker::noop());
    let mut yields = 0;
    let finished = loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(finished) => break finished.unwrap(),
            Poll::Pending => yields += 1,
        }
    };
    assert_eq!((finished.0.as_ref(), finished.1, yields), (bytes.as_slice(), Digest::of(&bytes), 2));
    let refused = run(open(Digest::of(b"other")).finish_in_pieces()).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::DigestMismatch { .. }), "{refused}");
}
