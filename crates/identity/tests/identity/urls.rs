//! URLs that keys may be fetched from.

use artifact_store_identity::JwksUrl;

#[test]
fn https_is_allowed_to_any_host_and_http_only_to_this_machine() {
    for (url, shown) in [
        ("https://login.example/.well-known/jwks.json", "https://login.example/.well-known/jwks.json"),
        ("https://login.example", "https://login.example/"),
        ("https://login.example:8443/a/b?tenant=hunter2", "https://login.example:8443/a/b"),
        ("HTTPS://Login.Example/", "https://Login.Example/"),
        ("https://10.0.0.7/keys", "https://10.0.0.7/keys"),
        ("https://[2001:db8::1]:444/keys", "https://[2001:db8::1]:444/keys"),
        ("http://127.0.0.1:9/keys", "http://127.0.0.1:9/keys"),
        ("http://127.255.0.3/keys", "http://127.255.0.3/keys"),
        ("http://[::1]/keys", "http://[::1]/keys"),
        ("http://[::1]:8080/keys", "http://[::1]:8080/keys"),
        ("http://LocalHost:8080/keys", "http://LocalHost:8080/keys"),
    ] {
        let parsed = JwksUrl::parse(url).unwrap_or_else(|why| panic!("{url}: {why}"));
        assert_eq!(parsed.to_string(), shown, "{url}");
        assert_eq!(format!("{parsed:?}"), format!("JwksUrl({shown})"), "{url}");
    }
}

#[test]
fn an_unsafe_url_is_refused_with_a_sentence() {
    let plain_http =
        "is not this machine, and plain http does not protect keys from being replaced on the way; use https";
    let not_unicast = "is a link-local, unspecified, broadcast or multicast address";
    let legal = "it takes an https URL such as https://login.example/.well-known/jwks.json, or an http URL if the host is \
                 this machine (127.0.0.1, [::1], localhost)";
    for (url, expected) in [
        ("http://login.example/keys", plain_http),
        ("http://localhost.example/keys", plain_http),
        ("http://127.0.0.1.example/keys", plain_http),
        ("http://10.0.0.7/keys", plain_http),
        ("http://0.0.0.0/keys", plain_http),
        ("http://[::]/keys", plain_http),
        ("http://[::ffff:10.0.0.7]/keys", plain_http),
        ("http://169.254.169.254/latest/meta-data", plain_http),
        ("https://169.254.169.254/latest/meta-data", not_unicast),
        ("https://[fe80::1]/keys", not_unicast),
        ("https://[::ffff:169.254.169.254]/keys", not_unicast),
        ("https://0.0.0.0/keys", not_unicast),
        ("https://[::]/keys", not_unicast),
        ("https://224.0.0.1/keys", not_unicast),
        ("https://255.255.255.255/keys", not_unicast),
        ("https://ada:hunter2@login.example/keys", "the URL has a user name or password"),
        ("https://hunter2@login.example/keys", "the URL has a user name or password"),
        ("http://127.0.0.1@login.example/keys", "the URL has a user name or password"),
        ("https://login.example/keys#hunter2", "the URL has a fragment"),
        ("ftp://login.example/keys", legal),
        ("file:///etc/jwks.json", legal),
        ("/etc/jwks.json", legal),
        ("login.example/keys", legal),
        ("login.example", legal),
        ("https://", legal),
        ("https:///keys", legal),
        ("https://login.example:0/keys", legal),
        ("https://login.example:/keys", legal),
        ("https://login.example:65536/keys", legal),
        ("https://login.example:port/keys", legal),
        ("https://login example/keys", legal),
        ("https://login.example\\@127.0.0.1/keys", legal),
        ("", legal),
    ] {
        let why = JwksUrl::parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
        assert!(why.contains(expected), "{url}: {why}");
        assert!(!why.contains("hunter2"), "{url}: {why}");
    }
}
