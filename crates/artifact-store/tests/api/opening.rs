//! Opening stores by URL and by configuration, and the errors for invalid ones.

use artifact_store::prelude::*;
use artifact_store::{SweepMode, UrlForm, VerifyReads, drivers, open, open_existing, sweep};

#[allow(clippy::panic)] // A test's assertion.
async fn open_error(url: &str) -> StoreError {
    let config = match url.parse::<Config>() {
        Ok(config) => config,
        Err(error) => return error,
    };
    match open(&config).await {
        Ok(store) => panic!("{url} opened as {store:?}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn every_driver_opens_by_url() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    for (url, driver) in [
        ("inmem:".to_owned(), "inmem"),
        ("inmem:?max_artifact_bytes=4KiB".to_owned(), "inmem"),
        (format!("fs:{folder}/a"), "fs"),
        (format!("fs://{folder}/b?sync=never"), "fs"),
        (format!("fs:{folder}/with%20space%3F"), "fs"),
        (format!("sqlite:{folder}/a.db"), "sqlite"),
        (format!("sqlite:{folder}/b.db?synchronous=normal&busy_timeout=250ms"), "sqlite"),
        ("sqlite::memory:".to_owned(), "sqlite"),
    ] {
        let store = open(&url.parse().unwrap()).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(store.driver(), driver, "{url}");
        let scope = Scope::new("t", "u", "s").unwrap();
        let put = store.put_text(&scope, "hello", PutOptions::default()).await.unwrap();
        let text = store.get_text(&scope, &put.record.id, 10).await.unwrap();
        assert_eq!(text.as_deref(), Some("hello"), "{url}");
        store.close().await.unwrap();
    }
    assert!(
        std::fs::metadata(format!("{folder}/with space?/FORMAT")).is_ok(),
        "escapes in paths are decoded"
    );
}

#[tokio::test]
async fn the_error_for_an_invalid_url_says_what_is_valid() {
    let registry = drivers().unwrap();
    let known: Vec<&str> = registry.drivers().map(|driver| driver.info().name).collect();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    for (url, says) in [
        ("sqllite:x.db".to_owned(), "no driver 'sqllite'; did you mean 'sqlite'? known: {known}"),
        ("sqlite://localhost/x".to_owned(), "the URL sqlite://… names a host"),
        ("swift:bucket".to_owned(), "no driver 'swift'; known: {known}"),
        ("/var/lib/artifacts".to_owned(), "not a store URL: expected driver:path"),
        ("mysql://ada:hunter2@db/x".to_owned(), "no driver 'mysql'; known: "),
        ("postgresql://ada:hunter2@db/x".to_owned(), "no driver 'postgresql'; did you mean 'postgres'?"),
        ("fs://ada:hunter2@db/x".to_owned(), "the URL fs://… names a host"),
        ("inmem://hunter2".to_owned(), "the URL inmem://… names a host"),
        ("inmem:///hunter2".to_owned(), "the driver inmem has no path; write inmem:"),
        ("postgres:".to_owned(), "the option 'url' is missing; the driver postgres needs it"),
        ("postgres:ada:hunter2@db/x".to_owned(), "the driver postgres has no path; write postgres://…"),
        (
            "postgres://ada:hunter2@db/x?url=hunter2".to_owned(),
            "the option 'url' is given twice: as the URL itself, and by name",
        ),
        ("postgres://ada:hunter2@db/x?sslmode=disable&sslmode=require".to_owned(), "sslmode is given twice"),
        ("postgres://ada:a?hunter2@b&hunter2@b&hunter2@b/x".to_owned(), "a parameter is given twice"),
        ("postgres://ada:a?hunter2%FF@db/x".to_owned(), "not valid UTF-8"),
        ("postgres://ada:hunter2@db/x?max_connections=few".to_owned(), "it takes a whole number"),
        ("postgres://ada:hunter2@db/x?max_connections".to_owned(), "write max_connections=…"),
        ("postgres://ada:hunter2#@db/x".to_owned(), "write %23"),
        ("s3:".to_owned(), "the option 'bucket' is missing; the driver s3 needs it"),
        ("s3://".to_owned(), "the option 'bucket' is missing; the driver s3 needs it"),
        ("s3:///prefix".to_owned(), "the option 'bucket' is missing; the driver s3 needs it"),
        ("s3:bucket/prefix".to_owned(), "the driver s3 has no path; write s3://bucket/prefix"),
        ("s3://key:hunter2@bucket".to_owned(), "it takes s3://bucket/prefix, and everything else as options"),
        ("s3://hunter2:9000/bucket".to_owned(), "holds a user, a password or a port"),
        ("s3://a?bucket=b".to_owned(), "'bucket' is given twice: as the URL's host, and by name"),
        ("s3://a/b?prefix=c".to_owned(), "'prefix' is given twice: as the URL's path, and by name"),
        ("s3://a?region=b&region=c".to_owned(), "region is given twice"),
        ("s3://a?regoin=b".to_owned(), "no option 'regoin'; did you mean 'region'?"),
        ("s3://a?path_style=hunter2".to_owned(), "it takes true or false"),
        ("s3://a?a%2Fb=hunter2".to_owned(), "letters, digits"),
        ("s3://a/%FF".to_owned(), "not valid UTF-8"),
        ("hunter2".to_owned(), "not a store URL"),
        ("inmem:?hunter2=%FF".to_owned(), "not valid UTF-8"),
        ("inmem:?%3Apath=/x".to_owned(), "letters, digits"),
        ("inmem:?verify_reads=always&verify_reads=never".to_owned(), "given twice"),
        ("inmem:?max_artifact_bytes=1&max_artifact_bytes=2".to_owned(), "given twice"),
        (String::new(), "not a store URL"),
        ("fs://data/artifacts".to_owned(), "write fs:/… for an absolute path"),
        ("inmem:somewhere".to_owned(), "the driver inmem has no path; write inmem:"),
        ("fs:".to_owned(), "the option 'root' is missing"),
        ("sqlite:".to_owned(), "the option 'path' is missing"),
        (format!("fs:{folder}/a?synk=never"), "no option 'synk'; did you mean 'sync'?"),
        (format!("fs:{folder}/a?sync=sometimes"), "it takes one of always, never"),
        (format!("fs:{folder}/a?sync"), "'sync' in a store URL has no value; write sync=…"),
        (format!("fs:{folder}/a?sync=never&sync=always"), "given twice"),
        (format!("fs:{folder}/a?root=/b"), "given twice"),
        (format!("fs:{folder}/a#b"), "write %23"),
        (format!("fs:{folder}/%FF"), "not valid UTF-8"),
        (format!("fs:{folder}/missing/parent"), "parent"),
        (format!("sqlite:{folder}/missing/x.db"), "director"),
        ("inmem:?verify_reads=maybe".to_owned(), "it takes one of always, never"),
        ("inmem:?max_artifact_bytes=big".to_owned(), "it takes a size"),
        (format!("fs:{folder}/never?cursor_secret=short"), "at least 16 bytes"),
    ] {
        let error = open_error(&url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}: {error}");
        let says = says.replace("{known}", &known.join(", "));
        assert!(error.to_string().contains(&says), "{url}: {error}");
        assert!(!error.to_string().contains("hunter2"), "a secret shows: {error}");
    }
    assert!(
        !std::path::Path::new(&format!("{folder}/never")).exists(),
        "a refused configuration left a directory behind"
    );
}

#[tokio::test]
async fn a_configuration_file_is_equivalent_to_a_url() {
    let json = r#"{
        "driver": "sqlite",
        "options": {"path": "x.db", "synchronous": "normal"},
        "verify_reads": "never",
        "cursor_secret": "a secret of many bytes",
        "max_artifact_bytes": "4MiB"
    }"#;
    let config: Config = serde_json::from_str(json).unwrap();
    assert_eq!(config.verify_reads, VerifyReads::Never);
    let url: Config =
        "sqlite:?path=x.db&synchronous=normal&verify_reads=never&max_artifact_bytes=4MiB&cursor_secret=a%20\
                       secret%20of%20many%20bytes"
            .parse()
            .unwrap();
    assert_eq!(url, config);
    assert!(!format!("{config:?}").contains("many bytes"), "a secret shows in debug output");
    for wrong in
        [r#"{"driver": "inmem", "option": {}}"#, r"{}", r#"{"driver": "inmem", "verify_reads": "no"}"#]
    {
        assert!(serde_json::from_str::<Config>(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn the_smaller_of_two_limits_holds() {
    for (url, limit) in [("inmem:?max_artifact_bytes=10", 10), ("sqlite::memory:?max_artifact_bytes=10", 10)]
    {
        let store = open(&url.parse().unwrap()).await.unwrap();
        assert_eq!(store.capabilities().artifact_bytes_limit(), limit);
        let scope = Scope::new("t", "u", "s").unwrap();
        let error = store.put_bytes(&scope, vec![0; 11], PutOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge { limit });
        store.close().await.unwrap();
    }
}

/// A driver reports the same capabilities before opening as its store does. This test covers drivers whose location is
/// on the disk or in memory. The test matrix covers the other drivers with their servers.
#[tokio::test]
async fn a_drivers_capabilities_are_those_of_its_stores() {
    let folder = tempfile::tempdir().unwrap();
    let registry = drivers().unwrap();
    let is_local = |url| matches!(url, UrlForm::SchemeOnly | UrlForm::Path(_));
    for driver in registry.drivers().filter(|driver| is_local(driver.info().url)) {
        let info = driver.info();
        let mut config = Config::new(info.name);
        if let Some(path) = info.url.path_option() {
            config = config.option(path, folder.path().join(info.name).display().to_string());
        }
        let given = info
            .url
            .path_option()
            .map(|path| (path.to_owned(), folder.path().join(info.name).display().to_string().into()));
        let options = artifact_store::core::Options::parse(info.name, info.options, given).unwrap();
        let store = open(&config).await.unwrap();
        assert_eq!(driver.capabilities(&options), store.capabilities(), "{}", info.name);
        store.close().await.unwrap();
    }
}

/// The orphans of a process that was killed: a temporary file and an empty directory.
#[tokio::test]
async fn a_sweep_by_url_deletes_the_orphans_of_a_killed_process() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let config: Config = format!("fs:{}", root.display()).parse().unwrap();
    let store = open(&config).await.unwrap();
    let scope = Scope::new("t", "u", "s").unwrap();
    let put = store.put_text(&scope, "stays", PutOptions::default()).await.unwrap();
    let empty = root.join("artifacts/t.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(root.join("tmp/put-00000000000000000000000000000000"), "half").unwrap();
    let found = sweep(&config, SweepMode::DryRun).await.unwrap();
    assert!(empty.exists() && root.join("tmp/put-00000000000000000000000000000000").exists());
    let deleted = sweep(&config, SweepMode::Delete).await.unwrap();
    assert_eq!((deleted.leftovers, deleted.bytes), (2, Some(4)), "the directory and the file");
    assert_eq!(found, deleted);
    assert!(!empty.exists() && std::fs::read_dir(root.join("tmp")).unwrap().next().is_none());
    assert!(store.exists(&scope, &put.record.id).await.unwrap());
    store.close().await.unwrap();
    for url in ["inmem:", "sqlite::memory:"] {
        for mode in [SweepMode::DryRun, SweepMode::Delete] {
            assert_eq!(sweep(&url.parse().unwrap(), mode).await.unwrap().leftovers, 0, "{url}");
        }
    }
}

#[tokio::test]
async fn errors_of_opening_name_the_driver() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(
        &file,
        "this is no database, it is a text that is long enough to be read as a page header".repeat(20),
    )
    .unwrap();
    for driver in ["fs", "sqlite"] {
        let error = open_error(&format!("{driver}:{}", file.display())).await;
        assert_eq!(error.context().map(|context| context.driver), Some(driver), "{error}");
        assert!(error.to_string().starts_with(&format!("{driver} open: ")), "{error}");
    }
}

#[tokio::test]
async fn opening_an_existing_store_does_not_create_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    for driver in ["fs", "sqlite"] {
        let config: Config = format!("{driver}:{folder}/{driver}").parse().unwrap();
        let error = open_existing(&config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            error.to_string(),
            format!("there is no {driver} store at {folder}/{driver}; check the path")
        );
        assert!(
            std::fs::read_dir(folder.to_string()).unwrap().all(|entry| entry.unwrap().file_name() != driver)
        );
        open(&config).await.unwrap().close().await.unwrap();
        open_existing(&config).await.unwrap().close().await.unwrap();
    }
    // A store in memory is always created.
    for url in ["inmem:", "sqlite::memory:"] {
        open_existing(&url.parse().unwrap()).await.unwrap().close().await.unwrap();
    }
}
