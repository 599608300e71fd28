//! Section 6: headers for a browser about bytes that somebody else has chosen: file names and media types, and no
//! script runs.

use artifact_store_tests::wire::{Request, Response, Server, base64, encode, for_each_flavour, put};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::ada;

/// Parses a `Content-Disposition` (RFC 6266) into its type, `filename` and `filename*`.
fn parse_disposition(header: &str) -> (String, Option<String>, Option<String>) {
    assert!(header.is_ascii(), "not ASCII: {header:?}");
    assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "control characters: {header:?}");
    let (kind, rest) = header.split_once(';').unwrap_or((header, ""));
    let mut rest = rest.to_owned();
    let (mut plain, mut extended) = (None, None);
    while !rest.trim().is_empty() {
        let (name, value) = rest.split_once('=').unwrap_or_else(|| panic!("no parameter: {header:?}"));
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            let (mut text, mut chars) = (String::new(), quoted.chars());
            loop {
                match chars.next() {
                    Some('\\') => text.extend(chars.next()),
                    Some('"') => break,
                    Some(char) => text.push(char),
                    None => panic!("an unclosed quote: {header:?}"),
                }
            }
            (text, chars.as_str().to_owned())
        } else {
            let end = value.find(';').unwrap_or(value.len());
            (value[..end].trim().to_owned(), value[end..].to_owned())
        };
        let slot = match name.trim() {
            "filename" => &mut plain,
            "filename*" => &mut extended,
            name => panic!("a parameter {name:?} in {header:?}"),
        };
        assert!(slot.replace(value).is_none(), "a parameter twice in {header:?}");
        after.trim_start().trim_start_matches(';').clone_into(&mut rest);
    }
    let extended = extended.map(|text| {
        let text =
            text.strip_prefix("UTF-8''").unwrap_or_else(|| panic!("no RFC 8187: {header:?}")).to_owned();
        percent_decode_str(&text).decode_utf8().unwrap().into_owned()
    });
    (kind.trim().to_owned(), plain, extended)
}

/// Stores bytes under this name, by the method or by an upload, and downloads them. Returns `None` if the name is
/// refused.
fn download_named(server: &Server, name: &str, by_method: bool) -> Option<Response> {
    let body = json!({"bytes": base64(name.as_bytes()), "opts": {"filename": name}});
    let answer = if by_method {
        server.call(&ada(), "artifacts.put", &body)
    } else {
        put(&format!("?namespace=b&filename={}", encode(name)), name).identity(&ada()).send(server)
    };
    if answer.status >= 400 {
        assert!(matches!(answer.code().as_str(), "invalid_request" | "payload_invalid"), "{answer:?}");
        return None;
    }
    Some(server.download(&ada(), answer.json()["ref"]["id"].as_str().unwrap()))
}

#[test]
fn plain_names_are_sent_plainly_and_others_by_rfc_8187() {
    for_each_flavour(|server| {
        for by_method in [true, false] {
            for name in [
                "report.csv",
                "a b.txt",
                "naïve.txt",
                "价格.pdf",
                "🦀.rs",
                "semi;colon.txt",
                "100%.txt",
                "it's.txt",
            ] {
                let answer = download_named(server, name, by_method).unwrap();
                let (kind, plain, extended) =
                    parse_disposition(answer.header("content-disposition").unwrap());
                assert_eq!(kind, "attachment");
                // Clients that know RFC 8187 use the extended name, others the plain one.
                assert_eq!(extended.as_deref().or(plain.as_deref()), Some(name));
                if name.is_ascii() && name != "100%.txt" {
                    assert_eq!(plain.as_deref(), Some(name), "{:?}", answer.header("content-disposition"));
                }
            }
        }
    });
}

#[test]
fn hostile_file_names_inject_nothing() {
    for_each_flavour(|server| {
        for by_method in [true, false] {
            for name in [
                "a\r\nX-Evil: 1",
                "a\nSet-Cookie: x=1",
                "a\r\n\r\n<script>alert(1)</script>",
                "a\"; filename=\"evil.exe",
                "a\\\"; filename=evil.exe",
                "\\",
                "\"",
                "a\0b",
                "a\tb",
                "\u{202e}gnp.exe",
                "a\u{2028}b",
                "\u{feff}",
                "a;filename*=UTF-8''evil.exe",
                "../../etc/passwd",
                "..\\..\\boot.ini",
                "a/b",
                "/",
                ".",
                "..",
                "\u{7f}",
                "\u{85}",
                "CON",
                " ",
                &"x".repeat(4000),
                &"é".repeat(4000),
                "%0d%0aX-Evil:1",
                "=?utf-8?B?eA==?=",
            ] {
                let Some(answer) = download_named(server, name, by_method) else { continue };
                answer.expect_bytes(name.as_bytes());
                assert_eq!(answer.header("x-evil"), None);
                assert_eq!(answer.header("set-cookie"), None);
                let (kind, plain, extended) =
                    parse_disposition(answer.header("content-disposition").unwrap());
                assert_eq!(kind, "attachment", "{name:?}");
                for file_name in [plain, extended].into_iter().flatten() {
                    let bad = |char: char| {
                        char.is_control()
                            || matches!(char, '/' | '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
                    };
                    assert!(!file_name.contains(bad), "{name:?} becomes {file_name:?}");
                    assert!(file_name != "." && file_name != "..", "{name:?} becomes {file_name:?}");
                }
            }
        }
    });
}

/// Stores bytes with this media type and downloads them inline. Returns `None` if the type is refused.
fn download_inline(server: &Server, kind: &str, by_method: bool) -> Option<Response> {
    let answer = if by_method {
        let body = json!({"bytes": base64(kind.as_bytes()), "opts": {"mime_type": kind, "namespace": "m"}});
        server.call(&ada(), "artifacts.put", &body)
    } else {
        put("", format!("by header {kind}")).identity(&ada()).header("Content-Type", kind).send(server)
    };
    if answer.status >= 400 {
        assert!(matches!(answer.code().as_str(), "invalid_request" | "payload_invalid"), "{answer:?}");
        return None;
    }
    let id = answer.json()["ref"]["id"].as_str().unwrap().to_owned();
    Some(Request::get(format!("/v1/artifacts/{id}?disposition=inline")).identity(&ada()).send(server))
}

#[test]
fn types_that_can_script_are_never_inline() {
    for_each_flavour(|server| {
        for by_method in [true, false] {
            for kind in [
                "text/html",
                "TEXT/HTML",
                "text/html; charset=utf-8",
                " text/html",
                "image/svg+xml",
                "image/svg+xml;charset=utf-8",
                "image/SVG+xml",
                "application/xhtml+xml",
                "text/xml",
                "application/xml",
                "application/rss+xml",
                "application/javascript",
                "text/javascript",
                "application/x-shockwave-flash",
                "application/pdf+html",
                "multipart/x-mixed-replace",
                "message/rfc822",
                "application/octet-stream",
                "image/png, text/html",
                "image/png text/html",
                "image/png;\ttext/html",
                "x",
                "",
                "text/vtt",
                "text/cache-manifest",
                "application/mathml+xml",
            ] {
                let Some(answer) = download_inline(server, kind, by_method) else { continue };
                if answer.status == 200 {
                    let (disposition, ..) = parse_disposition(answer.header("content-disposition").unwrap());
                    assert_eq!(disposition, "attachment", "{kind:?}");
                } else {
                    answer.expect_refusal("invalid_request");
                }
            }
        }
    });
}

#[test]
fn images_are_inline_if_requested_and_sandboxed_all_the_same() {
    for_each_flavour(|server| {
        for kind in ["image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"] {
            let answer = download_inline(server, kind, true).unwrap();
            let (disposition, ..) = parse_disposition(answer.header("content-disposition").unwrap());
            assert_eq!(disposition, "inline", "{kind}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("content-security-policy"), Some("sandbox; default-src 'none'"));
        }
        let id = server.store(&ada(), b"\x89PNG", &json!({"mime_type": "image/png"}))["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let (disposition, ..) =
            parse_disposition(server.download(&ada(), &id).header("content-disposition").unwrap());
        assert_eq!(disposition, "attachment", "inline was not requested");
        let odd = Request::get(format!("/v1/artifacts/{id}?disposition=evil")).identity(&ada()).send(server);
        odd.expect_refusal("invalid_request");
    });
}

#[test]
fn a_hostile_media_type_injects_no_header() {
    for_each_flavour(|server| {
        for kind in [
            "text/plain\r\nX-Evil: 1",
            "text/plain\n\n<script>",
            "a/\0b",
            "💥/💥",
            "text/plain\u{7f}",
            &format!("a/{}", "b".repeat(4000)),
        ] {
            let Some(answer) = download_inline(server, kind, true) else { continue };
            assert_eq!(answer.status, 200, "{kind:?}: {answer:?}");
            assert_eq!(answer.body, kind.as_bytes());
            assert_eq!(answer.header("x-evil"), None);
            assert!(
                answer
                    .header("content-type")
                    .is_none_or(|value| value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')),
                "{answer:?}"
            );
        }
    });
}

#[test]
fn an_untyped_download_is_an_octet_stream() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"<html><script>alert(1)</script>");
        let answer = server.download(&ada(), &id);
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    });
}
