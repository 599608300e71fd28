//! The decoder of `artifacts.put`: any division into chunks, limits while bytes arrive, and limits of the payload.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests.

use artifact_store_protocol::{
    Code, Envelope, LimitSource, PutDecoder, PutOpts, PutRequest, RawMetadata, SizeLimit,
};
use data_encoding::BASE64;
use proptest::prelude::*;

fn decoder(bytes: u64) -> PutDecoder {
    PutDecoder::new(SizeLimit { bytes, source: LimitSource::MaxRequestBytes })
}

fn decoded(limit: u64, json: &str) -> Result<PutRequest, Envelope> {
    let mut decoder = decoder(limit);
    decoder.feed(json.as_bytes())?;
    decoder.finish()
}

fn refused(limit: u64, json: &str) -> Code {
    decoded(limit, json).expect_err(json).code
}

proptest! {
    #[test]
    fn any_bytes_come_back_whatever_the_chunks(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        cuts in proptest::collection::vec(1_usize..700, 1..20),
        filename in "\\PC{0,20}",
        bytes_first in any::<bool>(),
    ) {
        let opts = format!(r#""opts": {{"filename": {}}}"#, serde_json::to_string(&filename).unwrap());
        let member = format!(r#""bytes" : "{}""#, BASE64.encode(&bytes));
        let json = if bytes_first { format!("{{{member}, {opts}}}") } else { format!("{{{opts}, {member}}}") };
        let mut decoder = decoder(bytes.len() as u64);
        let (mut rest, mut cuts) = (json.as_bytes(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            decoder.feed(chunk).unwrap();
            rest = more;
        }
        let request = decoder.finish().unwrap();
        prop_assert_eq!(&request.bytes[..], &bytes[..]);
        prop_assert_eq!(request.opts.filename.unwrap(), filename);
    }

    #[test]
    fn any_text_is_decoded_or_refused_and_nothing_panics(
        text in "[\\[\\]{}\",:\\\\a-zA-Z0-9=/+ u]{0,200}",
        cut in 1_usize..40,
    ) {
        for json in [text.clone(), format!("{{\"bytes\": \"{text}"), format!("{{\"bytes\": \"{text}\"}}")] {
            let mut decoder = decoder(64);
            let fed = json.as_bytes().chunks(cut).try_for_each(|chunk| decoder.feed(chunk));
            if let Ok(request) = fed.and_then(|()| decoder.finish()) {
                prop_assert!(request.bytes.len() <= 64);
                // The decoder returns the same bytes as a parser of the whole JSON.
                let whole: serde_json::Value = serde_json::from_str(&json).unwrap();
                let bytes = BASE64.decode(whole["bytes"].as_str().unwrap().as_bytes()).unwrap();
                prop_assert_eq!(&request.bytes[..], &bytes[..]);
            }
        }
    }
}

#[test]
fn exactly_the_limit_fits_and_one_more_byte_is_too_large() {
    for limit in [0_usize, 1, 2, 3, 4, 5, 6, 1000, 1001, 1002] {
        let json = |length: usize| format!(r#"{{"bytes": "{}"}}"#, BASE64.encode(&vec![7; length]));
        assert_eq!(decoded(limit as u64, &json(limit)).unwrap().bytes.len(), limit);
        assert_eq!(refused(limit as u64, &json(limit + 1)), Code::RequestTooLarge, "{limit}");
    }
}

#[test]
fn the_limit_is_reported_before_the_body_ends() {
    let mut decoder = decoder(100);
    decoder.feed(br#"{"bytes": ""#).unwrap();
    let fed = std::iter::repeat_n(b"AAAA".as_slice(), 1000).position(|chunk| decoder.feed(chunk).is_err());
    assert_eq!(fed, Some(33), "100 bytes are 33 groups and a third");
}

#[test]
fn the_refusal_of_a_put_does_not_depend_on_its_chunks() {
    for (text, code) in [
        ("AA!ABBBBCCCC", Code::InvalidRequest),
        ("AAAABBBBCC!C", Code::RequestTooLarge),
        ("AAAABB==CCCC", Code::InvalidRequest),
        ("AAAABBBBCCCC====", Code::RequestTooLarge),
    ] {
        let json = format!(r#"{{"bytes": "{text}"}}"#);
        for cut in 1..json.len() {
            let mut decoder = decoder(5);
            let fed = json.as_bytes().chunks(cut).try_for_each(|chunk| decoder.feed(chunk));
            assert_eq!(fed.unwrap_err().code, code, "{text} in chunks of {cut}");
        }
    }
}

#[test]
fn json_besides_the_bytes_is_limited() {
    let mut decoder = decoder(100);
    let error = std::iter::repeat_n([b' '; 1024], 2000).find_map(|chunk| decoder.feed(&chunk).err());
    assert_eq!(error.unwrap().code, Code::RequestTooLarge);
}

#[test]
fn bytes_may_be_escaped_as_json_allows() {
    for json in [r#"{"bytes": "+\/+\/"}"#, r#"{"bytes": "\u002b/\u002B\u002f"}"#, r#"{"b\u0079tes": "+/+/"}"#]
    {
        assert_eq!(&decoded(3, json).unwrap().bytes[..], [0xfb, 0xff, 0xbf], "{json}");
    }
}

#[test]
fn debug_output_shows_no_bytes_of_an_artifact() {
    let mut decoder = decoder(100);
    decoder.feed(br#"{"opts": {"filename": "hunter2"}, "bytes": "aHVudGVyMg==""#).unwrap();
    let shown = format!("{decoder:?}");
    decoder.feed(b"}").unwrap();
    let shown = format!("{shown} {:?}", PutRequest { opts: PutOpts::default(), ..decoder.finish().unwrap() });
    for secret in ["hunter2", "aHVudGVyMg", "104, 117, 110", "34, 104, 117"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("7 bytes"), "{shown}");
}

#[test]
fn metadata_may_contain_surrogate_pairs_and_text_that_only_looks_like_a_lone_surrogate() {
    let options = opts(r#"{"metadata": {"\ud83d\ude00": "\\ud83d \uD83D\uDE00"}}"#).into_options().unwrap();
    assert_eq!(serde_json::to_string(&options.metadata).unwrap(), r#"{"😀":"\\ud83d 😀"}"#);
}

#[test]
fn a_member_called_bytes_elsewhere_is_not_the_bytes() {
    let json = r#"{"opts": {"metadata": {"bytes": "!!", "list": ["bytes", {"bytes": "??"}]}, "tags": ["bytes"]}, "bytes": "aGk="}"#;
    let request = decoded(10, json).unwrap();
    assert_eq!(&request.bytes[..], b"hi");
    let options = request.opts.into_options().unwrap();
    assert_eq!(
        serde_json::to_string(&options.metadata).unwrap(),
        r#"{"bytes":"!!","list":["bytes",{"bytes":"??"}]}"#
    );
}

#[test]
fn invalid_base64_and_invalid_puts_are_refused() {
    for json in [
        r#"{"bytes": "a"}"#,
        r#"{"bytes": "aGk"}"#,
        r#"{"bytes": "aG=k"}"#,
        r#"{"bytes": "aGk=aGk="}"#,
        r#"{"bytes": "aGk=="}"#,
        r#"{"bytes": "aGl="}"#, // The unused bits are not zero.
        r#"{"bytes": "aG k"}"#,
        r#"{"bytes": "aGk\n"}"#,
        r#"{"bytes": "a-_="}"#,
        r#"{"bytes": "\u00e9Gk="}"#,
        r#"{"bytes": "\x"}"#,
        r#"{"bytes": "aGk=", "bytes": "aGk="}"#,
        r#"{"bytes": "", "b\u0079tes": "aGk="}"#,
        r#"{"bytes": null}"#,
        r#"{"bytes": 5}"#,
        r#"{"bytes": ["aGk="]}"#,
        r#"{"opts": {}}"#,
        r#"["bytes", "aGk="]"#,
        r#""bytes""#,
        "{",
        "",
        r#"{"bytes": "aGk="} x"#,
        r#"{"bytes": "aGk=", "opts": {"size": 1}}"#,
        r#"{"bytes": "aGk=", "opts": {"source": "robot"}}"#,
        r#"{"bytes": "aGk=", "opts": {"source": {"tool": null}}}"#,
        r#"{"bytes": "aGk=", "opts": {"metadata": {"half": "\ud83d"}}}"#,
        r#"{"bytes": "aGk=", "opts": {"metadata": {"\udc00": 1}}}"#,
        r#"{"bytes": "aGk=", "opts": {"metadata": {"half": ["\\\ud83d\\ude00"]}}}"#,
        r#"{"bytes": "aGk=", "opts": {"metadata": [1]}}"#,
        r#"{"bytes": "aGk=", "opts": {"metadata": "x"}}"#,
        r#"{"bytes": "aGk=", "opts": {"tags": "x"}}"#,
        r#"{"bytes": "aGk=", "opts": {"tags": [1]}}"#,
    ] {
        assert_eq!(refused(100, json), Code::InvalidRequest, "{json}");
    }
}

/// The opts of a put with this JSON.
fn opts(json: &str) -> PutOpts {
    decoded(100, &format!(r#"{{"bytes": "", "opts": {json}}}"#)).unwrap().opts
}

#[test]
fn a_payload_is_valid_at_each_limit_and_invalid_above_it() {
    let text = |chars: usize| "ä".repeat(chars);
    let tags = |items: usize| serde_json::to_string(&vec!["t"; items]).unwrap();
    let keys = |keys: usize| {
        let members: Vec<_> = (0..keys).map(|key| format!(r#""k{key}": 1"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let deep = |containers: usize| format!("{}1{}", r#"{"a":"#.repeat(containers), "}".repeat(containers));
    let list = |items: usize| format!(r#"{{"a": [{}]}}"#, vec!["1"; items].join(","));
    let sized = |bytes: usize| {
        // Strings of at most 4096 characters, so that `{"metadata":{"a":"…","b":"…",…}}` has `bytes` bytes.
        let frame = r#"{"metadata":{"a":"","b":"","c":"","d":"","e":""}}"#.len();
        let each = (bytes - frame) / 5;
        let rest = bytes - frame - 4 * each;
        let x = |count: usize| "x".repeat(count);
        format!(
            r#"{{"metadata": {{"a":"{}","b":"{}",   "c":"{}","d":"{}","e":"{}"}}}}"#,
            x(each),
            x(each),
            x(each),
            x(each),
            x(rest)
        )
    };
    for (valid, invalid) in [
        (format!(r#"{{"filename": "{}"}}"#, text(4096)), format!(r#"{{"filename": "{}"}}"#, text(4097))),
        (
            format!(r#"{{"mime_type": "text/x; a=\"{}\""}}"#, text(4096 - 12)),
            format!(r#"{{"mime_type": "text/x; a=\"{}\""}}"#, text(4097 - 12)),
        ),
        (format!(r#"{{"tags": ["{}"]}}"#, text(4096)), format!(r#"{{"tags": ["{}"]}}"#, text(4097))),
        (format!(r#"{{"tags": {}}}"#, tags(50)), format!(r#"{{"tags": {}}}"#, tags(51))),
        (format!(r#"{{"metadata": {}}}"#, list(50)), format!(r#"{{"metadata": {}}}"#, list(51))),
        (format!(r#"{{"metadata": {}}}"#, keys(64)), format!(r#"{{"metadata": {}}}"#, keys(65))),
        (format!(r#"{{"metadata": {}}}"#, deep(6)), format!(r#"{{"metadata": {}}}"#, deep(7))),
        (format!(r#"{{"metadata": {{"k": "{}"}}}}"#, text(4096)), format!(r#"{{"metadata": {{"k": "{}"}}}}"#, text(4097))),
        (format!(r#"{{"metadata": {{"{}": 1}}}}"#, text(4096)), format!(r#"{{"metadata": {{"{}": 1}}}}"#, text(4097))),
        (sized(16 * 1024), sized(16 * 1024 + 1)),
        (
            r#"{"metadata": {"n": [-9223372036854775808, 18446744073709551615, 1.7976931348623157e308, null, true]}}"#.into(),
            r#"{"metadata": {"n": 1e400}}"#.into(),
        ),
    ] {
        opts(&valid).into_options().unwrap_or_else(|error| panic!("{valid}: {error}"));
        assert_eq!(opts(&invalid).into_options().unwrap_err().code, Code::PayloadInvalid, "{invalid}");
    }
}

#[test]
fn metadata_of_hostile_depth_is_refused_for_its_depth() {
    let deep = format!(r#"{{"metadata": {{"a": {}1{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let error = opts(&deep).into_options().unwrap_err();
    assert_eq!(
        (error.code, error.message.as_ref()),
        (Code::PayloadInvalid, "metadata is deeper than 6 containers")
    );
}

#[test]
fn options_are_as_sent_with_defaults_for_the_rest() {
    let options = opts("{}").into_options().unwrap();
    assert_eq!(options, artifact_store_core::PutOptions::default());
    let options = opts(
        r#"{"mime_type": "text/csv", "filename": "a.csv", "namespace": "n.s_1-x", "source": "planner", "tags": ["a", "b"],
            "metadata": {"k": [1, 2.5]}}"#,
    )
    .into_options()
    .unwrap();
    assert_eq!(
        serde_json::to_string(&options).unwrap(),
        r#"{"namespace":"n.s_1-x","media_type":"text/csv","filename":"a.csv","source":"planner","tags":["a","b"],"metadata":{"k":[1,2.5]}}"#
    );
    for namespace in [".x", "a/b", "ä", &"n".repeat(129)] {
        let error = opts(&format!(r#"{{"namespace": "{namespace}"}}"#)).into_options().unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest, "{namespace}");
    }
}

#[test]
fn an_invalid_media_type_is_refused_and_the_refusal_of_a_long_one_names_the_limit() {
    let code = |mime_type: &str| {
        let opts = PutOpts { mime_type: Some(mime_type.into()), ..PutOpts::default() };
        opts.into_options().map_err(|error| error.code)
    };
    for mime_type in ["*/*", "image/*", "text", "text/plain; charset=\"utf-8", " text/plain", "a/b\0"] {
        assert_eq!(code(mime_type), Err(Code::InvalidRequest), "{mime_type:?}");
    }
    assert_eq!(code(&"x".repeat(4097)), Err(Code::PayloadInvalid));
    let typed = |mime_type: &str| code(mime_type).unwrap().media_type;
    assert_eq!(typed("Text/Plain; charset=\"utf-8\"").as_deref(), Some("Text/Plain; charset=\"utf-8\""));
    assert_eq!(typed(""), None);
}

#[test]
fn metadata_built_in_code_is_checked_against_the_same_limits() {
    let metadata = serde_json::json!({"k": "x".repeat(4097)});
    let serde_json::Value::Object(metadata) = metadata else { unreachable!() };
    let opts = PutOpts { metadata: Some(RawMetadata::try_from(metadata).unwrap()), ..PutOpts::default() };
    assert_eq!(opts.into_options().unwrap_err().code, Code::PayloadInvalid);
}
