//! Section 6: what a browser is told about bytes that somebody else has chosen: names, types, and never to run them.

use artifact_store_tests::wire::{Request, Response, Server, base64, encode, on_every_driver, put};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::ada;

/// The parameters of a `Content-Disposition` (RFC 6266): its type, `filename` and `filename*`.
fn parsed(header: &str) -> (String, Option<String>, Option<String>) {
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
                    None => panic!("a quote without an end: {header:?}"),
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

/// The download of bytes under this name, put by either way; `None` where the name is refused.
fn named(server: &Server, name: &str, method: bool) -> Option<Response> {
    let body = json!({"bytes": base64(name.as_bytes()), "opts": {"filename": name}});
    let answer = if method {
        server.call(&ada(), "artifacts.put", &body)
    } else {
        put(&format!("?namespace=b&filename={}", encode(name)), name).by(&ada()).send(server)
    };
    if answer.status >= 400 {
        assert!(matches!(answer.code().as_str(), "invalid_request" | "payload_invalid"), "{answer:?}");
        return None;
    }
    Some(server.download(&ada(), answer.json()["ref"]["id"].as_str().unwrap()))
}

#[test]
fn plain_names_are_told_plainly_and_others_by_rfc_8187() {
    on_every_driver(|server| {
        for method in [true, false] {
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
                let answer = named(server, name, method).unwrap();
                let (kind, plain, extended) = parsed(answer.header("content-disposition").unwrap());
                assert_eq!(kind, "attachment");
                // Who knows RFC 8187 takes the extended one, others the plain one.
                assert_eq!(extended.as_deref().or(plain.as_deref()), Some(name));
                if name.is_ascii() && name != "100%.txt" {
                    assert_eq!(plain.as_deref(), Some(name), "{:?}", answer.header("content-disposition"));
                }
            }
        }
    });
}

#[test]
fn hostile_names_stay_a_name() {
    on_every_driver(|server| {
        for method in [true, false] {
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
                let Some(answer) = named(server, name, method) else { continue };
                answer.ok_bytes(name.as_bytes());
                assert_eq!(answer.header("x-evil"), None);
                assert_eq!(answer.header("set-cookie"), None);
                let (kind, plain, extended) = parsed(answer.header("content-disposition").unwrap());
                assert_eq!(kind, "attachment", "{name:?}");
                for told in [plain, extended].into_iter().flatten() {
                    let bad = |char: char| {
                        char.is_control()
                            || matches!(char, '/' | '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
                    };
                    assert!(!told.contains(bad), "{name:?} is told as {told:?}");
                    assert!(told != "." && told != "..", "{name:?} is told as {told:?}");
                }
            }
        }
    });
}

/// The download of bytes of this type, asked for inline; `None` where the type is refused.
fn inline(server: &Server, kind: &str, method: bool) -> Option<Response> {
    let answer = if method {
        let body = json!({"bytes": base64(kind.as_bytes()), "opts": {"mime_type": kind, "namespace": "m"}});
        server.call(&ada(), "artifacts.put", &body)
    } else {
        put("", format!("by header {kind}")).by(&ada()).header("Content-Type", kind).send(server)
    };
    if answer.status >= 400 {
        assert!(matches!(answer.code().as_str(), "invalid_request" | "payload_invalid"), "{answer:?}");
        return None;
    }
    let id = answer.json()["ref"]["id"].as_str().unwrap().to_owned();
    Some(Request::get(format!("/v1/artifacts/{id}?disposition=inline")).by(&ada()).send(server))
}

#[test]
fn types_that_can_script_are_never_inline() {
    on_every_driver(|server| {
        for method in [true, false] {
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
                let Some(answer) = inline(server, kind, method) else { continue };
                if answer.status == 200 {
                    let (how, ..) = parsed(answer.header("content-disposition").unwrap());
                    assert_eq!(how, "attachment", "{kind:?}");
                } else {
                    answer.refused("invalid_request");
                }
            }
        }
    });
}

#[test]
fn pictures_are_inline_where_asked_and_locked_up_all_the_same() {
    on_every_driver(|server| {
        for kind in ["image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"] {
            let answer = inline(server, kind, true).unwrap();
            let (how, ..) = parsed(answer.header("content-disposition").unwrap());
            assert_eq!(how, "inline", "{kind}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("content-security-policy"), Some("sandbox; default-src 'none'"));
        }
        let id = server.store(&ada(), b"\x89PNG", &json!({"mime_type": "image/png"}))["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let (how, ..) = parsed(server.download(&ada(), &id).header("content-disposition").unwrap());
        assert_eq!(how, "attachment", "nobody asked for inline");
        let odd = Request::get(format!("/v1/artifacts/{id}?disposition=evil")).by(&ada()).send(server);
        odd.refused("invalid_request");
    });
}

#[test]
fn a_type_of_somebody_elses_making_is_no_way_into_the_head() {
    on_every_driver(|server| {
        for kind in [
            "text/plain\r\nX-Evil: 1",
            "text/plain\n\n<script>",
            "a/\0b",
            "💥/💥",
            "text/plain\u{7f}",
            &format!("a/{}", "b".repeat(4000)),
        ] {
            let Some(answer) = inline(server, kind, true) else { continue };
            assert_eq!(answer.status, 200, "{kind:?}: {answer:?}");
            assert_eq!(answer.body, kind.as_bytes());
            assert_eq!(answer.header("x-evil"), None);
            assert!(
                answer
                    .header("content-type")
                    .is_none_or(|told| told.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')),
                "{answer:?}"
            );
        }
    });
}

#[test]
fn an_untyped_download_is_bytes() {
    on_every_driver(|server| {
        let id = server.store_id(&ada(), b"<html><script>alert(1)</script>");
        let answer = server.download(&ada(), &id);
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    });
}
