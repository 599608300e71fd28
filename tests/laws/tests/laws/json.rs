//! Requests as JSON.

use artifact_store_laws::{put, requests};
use artifact_store_protocol::{GetRequest, ListRequest, decode};
use data_encoding::BASE64;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{odd_text, with_byte_edits};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_map(|number| serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)),
        odd_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((odd_text(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The member, with a probability of 0.6.
fn optional_member(
    name: &'static str,
    value: impl Strategy<Value = Value> + 'static,
) -> impl Strategy<Value = Option<(String, Value)>> {
    prop::option::weighted(0.6, prop_oneof![9 => value.boxed(), 1 => self::value().boxed()])
        .prop_map(move |value| Some((name.to_owned(), value?)))
}

fn object(members: Vec<BoxedStrategy<Option<(String, Value)>>>) -> impl Strategy<Value = Value> {
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect()))
}

fn scope() -> impl Strategy<Value = Value> {
    object(
        ["tenant", "user", "session", "task"]
            .map(|name| optional_member(name, odd_text().prop_map(Value::from)).boxed())
            .into(),
    )
}

fn opts() -> impl Strategy<Value = Value> {
    let text = |name| optional_member(name, odd_text().prop_map(Value::from)).boxed();
    let tags = prop::collection::vec(odd_text(), 0..60).prop_map(Value::from);
    let sources = prop::sample::select(vec!["tool", "planner", "user_upload", "system", "robot"]);
    let members = (prop::collection::vec((odd_text(), value()), 0..4), 0..8_usize, 45..70_usize);
    let metadata = members.prop_map(|(members, depth, many)| {
        let mut metadata: Map<String, Value> = members.into_iter().collect();
        metadata.insert("deep".into(), (0..depth).fold(json!(1), |inner, _| json!([inner])));
        metadata.insert("many".into(), vec![1; many].into());
        metadata.insert(
            "keys".into(),
            (0..many).map(|key| (key.to_string(), json!(key))).collect::<Map<_, _>>().into(),
        );
        Value::Object(metadata)
    });
    object(vec![
        text("mime_type"),
        text("filename"),
        text("namespace"),
        optional_member("source", sources.prop_map(Value::from)).boxed(),
        optional_member("tags", tags).boxed(),
        optional_member("metadata", metadata).boxed(),
    ])
}

fn put_json() -> impl Strategy<Value = String> {
    let bytes = prop::collection::vec(any::<u8>(), 0..80).prop_map(|bytes| BASE64.encode(&bytes).into());
    let members = vec![
        optional_member("scope", scope()).boxed(),
        prop_oneof![9 => optional_member("bytes", bytes.boxed()), 1 => optional_member("stranger", value().boxed())].boxed(),
        optional_member("opts", opts()).boxed(),
    ];
    (object(members), any::<bool>()).prop_map(
        |(put, pretty)| {
            if pretty { format!("{put:#}") } else { put.to_string() }
        },
    )
}

fn request_json() -> impl Strategy<Value = String> {
    let number = || any::<u64>().prop_map(Value::from);
    let texts = || prop::collection::vec(odd_text(), 0..4).prop_map(Value::from);
    let sizes = || {
        object(vec![
            optional_member("min_bytes", number()).boxed(),
            optional_member("max_bytes", number()).boxed(),
        ])
    };
    let moment = || Just(json!("2026-01-02T03:04:05Z"));
    object(vec![
        optional_member("scope", scope()).boxed(),
        prop_oneof![
            optional_member("id", odd_text().prop_map(Value::from)).boxed(),
            optional_member(
                "identity",
                object(vec![optional_member("user", odd_text().prop_map(Value::from)).boxed()])
            )
            .boxed(),
            optional_member("mime_type", texts()).boxed(),
        ]
        .boxed(),
        prop_oneof![
            optional_member("offset", number()).boxed(),
            optional_member(
                "expiry",
                prop_oneof![number(), (0..700_000_u64).prop_map(|seconds| json!(seconds * 1_000_000_000))]
            )
            .boxed(),
            optional_member("size_range", sizes()).boxed(),
            optional_member("created_range", object(vec![optional_member("after", moment()).boxed()]))
                .boxed(),
        ]
        .boxed(),
        prop_oneof![
            optional_member("max_bytes", number()).boxed(),
            optional_member("tags", texts()).boxed(),
            optional_member("limit", number()).boxed(),
        ]
        .boxed(),
    ])
    .prop_map(|request| request.to_string())
}

proptest! {
    #[test]
    fn a_put_is_decoded_alike_whatever_its_chunks(
        json in with_byte_edits(put_json()),
        chunk_lengths in prop::collection::vec(any::<u8>(), 0..9),
        limit in 0..100_u64,
    ) {
        put::check_decoding(&json, &chunk_lengths, limit);
    }

    #[test]
    fn a_payload_is_accepted_exactly_within_its_limits(opts in opts()) {
        if let Ok(opts) = serde_json::from_value(opts) {
            put::check_limits(&opts);
        }
    }

    #[test]
    fn a_request_reads_the_same_however_it_is_written(json in with_byte_edits(request_json())) {
        requests::any(&json);
    }

    #[test]
    fn a_refusal_repeats_no_value_of_the_request(mut tree in value(), at in 0..6_usize) {
        const SECRET: &str = "hunter2";
        // Names may be repeated in a message, so the secret is only used as a value, in place of any type.
        fn replace_values(value: &mut Value) {
            match value {
                Value::Array(items) => items.iter_mut().for_each(replace_values),
                Value::Object(members) => members.values_mut().for_each(replace_values),
                other => *other = SECRET.into(),
            }
        }
        replace_values(&mut tree);
        let member = ["scope", "id", "offset", "size_range", "source", "created_range"][at];
        let json = json!({ member: tree }).to_string();
        let refusals = [decode::<GetRequest>(json.as_bytes()).err(), decode::<ListRequest>(json.as_bytes()).err()];
        for refused in refusals.into_iter().flatten() {
            prop_assert!(!refused.message.contains(SECRET), "{}", refused.message);
        }
    }
}
