//! Bodies that arrive altered, and what each server makes of them.

use artifact_store_backends::S3Kind;
use artifact_store_core::{ArtifactStore, PutOptions, PutOutcome};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;

use crate::harness::{Site, pieces, scope, server};

on_both!(
    what_the_store_is_said_to_do_with_a_part_of_another_checksum_is_what_it_does,
    a_long_put_is_made_of_parts_whatever_the_store_compares,
);

async fn what_the_store_is_said_to_do_with_a_part_of_another_checksum_is_what_it_does(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let store = site.open().await;
    let said = store.abilities().unwrap();
    let said = &said.iter().find(|ability| ability.name == "checksum_on_part").unwrap().value;

    let key = format!("{}/u/by-hand", site.prefix);
    let request = site.client.create_multipart_upload().bucket(&site.bucket).key(&key);
    let begun = request.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await.unwrap();
    let upload = begun.upload_id.unwrap();
    let part = site.client.upload_part().bucket(&site.bucket).key(&key).upload_id(&upload).part_number(1);
    let sent = part.checksum_crc32_c("AAAAAA==").body(ByteStream::from_static(b"altered")).send().await;
    let abort = site.client.abort_multipart_upload().bucket(&site.bucket).key(&key);
    abort.upload_id(upload).send().await.unwrap();
    assert_eq!(said, if sent.is_err() { "yes" } else { "no" });
    assert_eq!(sent.is_err(), kind == S3Kind::Garage);
    assert_eq!(site.residue().await, Vec::<String>::new());
}

async fn a_long_put_is_made_of_parts_whatever_the_store_compares(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let store = site.open().await;
    let put = store.put(&scope(), pieces(11, 11, async {}), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    // A store that compares keeps the parts' checksums with the object that they became.
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record));
}
