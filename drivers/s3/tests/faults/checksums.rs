//! Bodies that are altered on the way, and what each server does with them.

use artifact_store_backends::S3Kind;
use artifact_store_core::{ArtifactStore, PutOptions, PutOutcome};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;

use crate::harness::{TestBucket, pieces, scope, server};

on_each!(
    the_feature_checksum_on_part_matches_what_the_server_does,
    a_long_put_succeeds_whatever_the_server_compares,
);

async fn the_feature_checksum_on_part_matches_what_the_server_does(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let store = test_bucket.open().await;
    let reported = store.store_features().unwrap();
    let reported = &reported.iter().find(|feature| feature.name == "checksum_on_part").unwrap().value;

    let key = format!("{}/u/by-hand", test_bucket.prefix);
    let request = test_bucket.client.create_multipart_upload().bucket(&test_bucket.name).key(&key);
    let begun = request.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await.unwrap();
    let upload = begun.upload_id.unwrap();
    let part = test_bucket
        .client
        .upload_part()
        .bucket(&test_bucket.name)
        .key(&key)
        .upload_id(&upload)
        .part_number(1);
    let sent = part.checksum_crc32_c("AAAAAA==").body(ByteStream::from_static(b"altered")).send().await;
    let abort = test_bucket.client.abort_multipart_upload().bucket(&test_bucket.name).key(&key);
    abort.upload_id(upload).send().await.unwrap();
    assert_eq!(reported, if sent.is_err() { "yes" } else { "no" });
    assert_eq!(sent.is_err(), kind == S3Kind::Garage);
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}

async fn a_long_put_succeeds_whatever_the_server_compares(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let store = test_bucket.open().await;
    let put = store.put(&scope(), pieces(11, 11, async {}), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    // A server that compares checksums stores the checksums of the parts with the completed object. The artifact must
    // be readable nevertheless.
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record));
}
