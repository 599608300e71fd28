//! What the store can do: found out once, recorded beside the artifacts, told to operators.
//!
//! Stores that speak one protocol differ, so nothing is guessed: the store is asked, or the options say it. This module
//! must never know an artifact.

use artifact_store_core::{Ability, Digest, StoreError};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::config::{ConditionalCreate, MAX_OBJECT_BYTES, MAX_PARTS, S3Config};
use crate::error::{self, Failed, Why};
use crate::layout::{FORMAT_VERSION, Layout, random};
use crate::multipart::PART_CHECKSUM;

/// What is larger than this is no marker.
const MAX_MARKER_BYTES: i64 = 64 * 1024;

/// Where an ability is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Asked just now.
    Probed,
    /// Asked by an earlier opening.
    Recorded,
    /// Said by an option.
    Told,
}

impl From {
    const fn word(self) -> &'static str {
        match self {
            Self::Probed => "found out by trying just now",
            Self::Recorded => "found out by trying when the place was first opened, and recorded in FORMAT",
            Self::Told => "said by the option conditional_create",
        }
    }
}

/// What the store can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    /// It honours `If-None-Match: *`.
    pub(crate) conditional_create: bool,
    /// It compares a body with the SHA-256 that comes with it; `None` where nobody asked.
    checksum_on_put: Option<bool>,
    /// It compares a part of an upload with the CRC32C that comes with it; `None` where nobody asked.
    checksum_on_part: Option<bool>,
    conditional_from: From,
    checksum_from: From,
}

/// What FORMAT says.
#[derive(Debug, Clone, PartialEq)]
struct Marker {
    endpoint: String,
    conditional_create: Option<bool>,
    checksum_on_put: Option<bool>,
    checksum_on_part: Option<bool>,
}

impl Marker {
    fn json(&self) -> Vec<u8> {
        let value = json!({
            "format": FORMAT_VERSION,
            "driver": crate::NAME,
            "endpoint": self.endpoint,
            "conditional_create": self.conditional_create,
            "checksum_on_put": self.checksum_on_put,
            "checksum_on_part": self.checksum_on_part,
        });
        value.to_string().into_bytes()
    }

    fn parse(key: &str, json: &[u8]) -> Result<Self, StoreError> {
        let value: Value = serde_json::from_slice(json).unwrap_or_default();
        if value["driver"] != crate::NAME || !value["format"].is_u64() {
            return Err(StoreError::invalid(format!(
                "the object {key} is not this driver's: something else is kept under this prefix; choose another one"
            )));
        }
        if value["format"] != FORMAT_VERSION {
            return Err(StoreError::invalid(format!(
                "the store was made in format {}; this build reads {FORMAT_VERSION}: use the build that made it, or a newer one",
                value["format"]
            )));
        }
        Ok(Self {
            endpoint: value["endpoint"].as_str().unwrap_or_default().to_owned(),
            conditional_create: value["conditional_create"].as_bool(),
            checksum_on_put: value["checksum_on_put"].as_bool(),
            checksum_on_part: value["checksum_on_part"].as_bool(),
        })
    }
}

/// Tells one store from another without naming it.
fn fingerprint(config: &S3Config) -> String {
    let place = format!(
        "{}\0{}",
        config.endpoint.as_deref().unwrap_or_default().trim_end_matches('/'),
        config.region
    );
    Digest::of(place.as_bytes()).to_hex()[..16].to_owned()
}

/// Reads what the place's marker says; where there is none, or it was written at another address, asks the store and
/// writes it.
///
/// # Errors
/// What keeps the store from being used, as a sentence that says what to do.
pub(crate) async fn find_out(config: &S3Config, client: &Client) -> Result<Abilities, StoreError> {
    let layout = Layout::new(&config.prefix);
    let key = layout.format_key();
    let standing = read_marker(config, client, &key).await?;
    let told = match config.conditional_create {
        ConditionalCreate::Yes => Some(true),
        ConditionalCreate::No => Some(false),
        ConditionalCreate::Probe => None,
    };
    let here = fingerprint(config);
    if let Some(marker) = standing.as_ref().filter(|marker| marker.endpoint == here)
        && let Some(conditional_create) = told.or(marker.conditional_create)
    {
        return Ok(Abilities {
            conditional_create,
            checksum_on_put: marker.checksum_on_put,
            checksum_on_part: marker.checksum_on_part,
            conditional_from: if told.is_some() { From::Told } else { From::Recorded },
            checksum_from: From::Recorded,
        });
    }
    let probe = Probe { config, client, layout: &layout };
    let probed = match told {
        Some(told) => Ok((told, None, None)),
        None => probe.ask().await.map(|(conditional, put, part)| (conditional, Some(put), Some(part))),
    };
    let (conditional_create, checksum_on_put, checksum_on_part) = match (probed, &standing) {
        (Ok(probed), _) => probed,
        // A key that may only read: nothing is put through this store, so the cautious answer does.
        (Err(Failed { why: Why::Denied, .. }), Some(marker)) => (false, marker.checksum_on_put, None),
        (Err(failed), _) => return Err(failed.into()),
    };
    let marker = Marker {
        endpoint: here,
        conditional_create: told.is_none().then_some(conditional_create),
        checksum_on_put,
        checksum_on_part,
    };
    match (probe.put(&key, &marker.json()).await, standing) {
        (Err(Failed { why: Why::Denied, .. }), Some(_)) | (Ok(()), _) => {}
        (Err(failed), _) => return Err(failed.into()),
    }
    Ok(Abilities {
        conditional_create,
        checksum_on_put,
        checksum_on_part,
        conditional_from: if told.is_some() { From::Told } else { From::Probed },
        checksum_from: From::Probed,
    })
}

async fn read_marker(config: &S3Config, client: &Client, key: &str) -> Result<Option<Marker>, StoreError> {
    let got = match client.get_object().bucket(&config.bucket).key(key).send().await {
        Ok(got) => got,
        Err(error) => match error::of(config, "reading the store's FORMAT", error) {
            Failed { why: Why::NoKey, .. } => return Ok(None),
            failed => return Err(failed.into()),
        },
    };
    let too_large = got.content_length().is_none_or(|length| length > MAX_MARKER_BYTES);
    if too_large {
        return Marker::parse(key, b"").map(Some);
    }
    let body = tokio::time::timeout(config.request_timeout, got.body.collect())
        .await
        .map_err(|_| error::stalled_body(config))?
        .map_err(|error| error::broken_body(config, &error))?;
    Marker::parse(key, &body.into_bytes()).map(Some)
}

/// Asks the store.
struct Probe<'a> {
    config: &'a S3Config,
    client: &'a Client,
    layout: &'a Layout,
}

impl Probe<'_> {
    /// Whether it honours a condition on creating, and whether it compares checksums of puts and of parts. What is put
    /// for that goes again.
    async fn ask(&self) -> Result<(bool, bool, bool), Failed> {
        let [first, second] = [(); 2].map(|()| random().map(|random| self.layout.probe_key(&random)));
        let fail = |error: StoreError| Failed { why: Why::Refused, error };
        let (first, second) = (first.map_err(fail)?, second.map_err(fail)?);
        let conditional = self.ask_condition(&first).await;
        let checksum = match conditional {
            Ok(_) => self.ask_checksum(&second).await,
            Err(_) => Ok(false),
        };
        let parts = match checksum {
            Ok(_) => self.ask_parts(&second).await,
            Err(_) => Ok(false),
        };
        // Also where it was refused: a store may keep what it refuses.
        let (one, two) = (self.remove(&first).await, self.remove(&second).await);
        let answers = (conditional?, checksum?, parts?);
        one.and(two)?;
        Ok(answers)
    }

    async fn ask_condition(&self, key: &str) -> Result<bool, Failed> {
        self.put(key, b"probe").await?;
        let again = self.client.put_object().bucket(&self.config.bucket).key(key).if_none_match("*");
        match again.body(ByteStream::from_static(b"again")).send().await {
            Ok(_) => Ok(false),
            Err(error) => match self.failed(error) {
                Failed { why: Why::Stands, .. } => Ok(true),
                // It knows the header, and refuses it.
                Failed { why: Why::NotImplemented | Why::Refused, .. } => Ok(false),
                failed => Err(failed),
            },
        }
    }

    async fn ask_checksum(&self, key: &str) -> Result<bool, Failed> {
        let wrong = BASE64.encode(Digest::of(b"something else").as_bytes());
        let put = self.client.put_object().bucket(&self.config.bucket).key(key).checksum_sha256(wrong);
        let put = put.body(ByteStream::from_static(b"probe")).customize().disable_payload_signing();
        match put.send().await {
            Ok(_) => Ok(false),
            Err(error) => match self.failed(error) {
                Failed { why: Why::Altered | Why::Refused | Why::NotImplemented, .. } => Ok(true),
                failed => Err(failed),
            },
        }
    }

    async fn ask_parts(&self, key: &str) -> Result<bool, Failed> {
        let bucket = &self.config.bucket;
        let request = self.client.create_multipart_upload().bucket(bucket).key(key);
        let started = match request.checksum_algorithm(PART_CHECKSUM).send().await {
            Ok(started) => started,
            Err(error) => match self.failed(error) {
                Failed { why: Why::Refused | Why::NotImplemented, .. } => return Ok(false),
                failed => return Err(failed),
            },
        };
        let Some(upload) = started.upload_id else { return Ok(false) };
        // The one of no bytes at all.
        let wrong = BASE64.encode(&[0; 4]);
        let part = self.client.upload_part().bucket(bucket).key(key).upload_id(&upload).part_number(1);
        let part = part.checksum_crc32_c(wrong).body(ByteStream::from_static(b"probe"));
        let sent = part.customize().disable_payload_signing().send().await;
        let abort = self.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload);
        let aborted = abort.send().await.map_err(|error| self.failed(error));
        let compared = match sent {
            Ok(_) => false,
            Err(error) => match self.failed(error) {
                Failed { why: Why::Altered | Why::Refused, .. } => true,
                Failed { why: Why::NotImplemented, .. } => false,
                failed => return Err(failed),
            },
        };
        match aborted {
            // An upload that the store has ended by itself is ended.
            Ok(_) | Err(Failed { why: Why::NoUpload | Why::NoKey, .. }) => Ok(compared),
            Err(failed) => Err(failed),
        }
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), Failed> {
        let put = self.client.put_object().bucket(&self.config.bucket).key(key);
        let put = put.body(ByteStream::from(bytes.to_vec())).send().await;
        put.map(drop)
            .map_err(|error| error::of(self.config, "putting an object (the right s3:PutObject)", error))
    }

    async fn remove(&self, key: &str) -> Result<(), Failed> {
        let removed = self.client.delete_object().bucket(&self.config.bucket).key(key).send().await;
        removed
            .map(drop)
            .map_err(|error| error::of(self.config, "deleting an object (the right s3:DeleteObject)", error))
    }

    fn failed<E>(
        &self,
        error: aws_sdk_s3::error::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
    ) -> Failed
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        error::of(self.config, "asking the store what it can do", error)
    }
}

impl Abilities {
    /// Whether a part of an upload is sent with a checksum: only where it is known that it does good.
    pub(crate) fn compares_parts(self) -> bool {
        self.checksum_on_part == Some(true)
    }

    /// The same for operators.
    pub(crate) fn list(self, config: &S3Config) -> Vec<Ability> {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let consequence = if self.conditional_create {
            "puts of one artifact that race are decided by the store, whatever process they come from"
        } else {
            "a put asks first and then writes; where two processes put the same bytes at the same instant, both may be told \
             'created', and the later one's options stay"
        };
        let checksum = match self.checksum_on_put {
            Some(true) => "a body that arrives altered is refused",
            Some(false) => "a body that arrives altered is stored, and found out when it is read",
            None => "nobody asked, because the option conditional_create said enough",
        };
        let part = match self.checksum_on_part {
            Some(true) => "a part that arrives altered is refused",
            Some(false) => "parts are sent without, and what arrives altered is found out when it is read",
            None => "nobody asked, so parts are sent without",
        };
        vec![
            Ability {
                name: "conditional_create",
                value: yes_no(self.conditional_create),
                about: format!("Honours If-None-Match; {}: {consequence}.", self.conditional_from.word()),
            },
            Ability {
                name: "checksum_on_put",
                value: self.checksum_on_put.map_or_else(|| "unknown".to_owned(), yes_no),
                about: format!("Compares the SHA-256 of a put; {}: {checksum}.", self.checksum_from.word()),
            },
            Ability {
                name: "checksum_on_part",
                value: self.checksum_on_part.map_or_else(|| "unknown".to_owned(), yes_no),
                about: format!(
                    "Compares the CRC32C of a part of an upload; {}: {part}.",
                    self.checksum_from.word()
                ),
            },
            Ability {
                name: "multipart",
                value: format!("{MAX_PARTS} parts of {} bytes", config.part_size),
                about: format!(
                    "Known from the protocol and the option part_size: an artifact has at most {} bytes, of {MAX_OBJECT_BYTES} \
                     that an object may have.",
                    config.limit()
                ),
            },
            Ability {
                name: "path_style",
                value: yes_no(config.path_style),
                about: "Said by the option: whether the bucket stands in the path of a request and not in its host.".into(),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;

    use super::Marker;

    #[test]
    fn the_marker_reads_back_and_others_are_refused() {
        let marker = Marker {
            endpoint: "e".into(),
            conditional_create: Some(true),
            checksum_on_put: None,
            checksum_on_part: Some(false),
        };
        assert_eq!(Marker::parse("FORMAT", &marker.json()).unwrap(), marker);
        for other in ["", "hello", "{}", r#"{"driver":"s3","format":2}"#, r#"{"driver":"fs","format":1}"#] {
            let error = Marker::parse("FORMAT", other.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{other}");
        }
    }
}
