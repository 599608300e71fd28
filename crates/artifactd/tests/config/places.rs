//! The places of drivers that are servers: what becomes of their keys, and the whole line for what is wrong with them.

use artifactd::config::keys::KEYS;

use crate::kit::{File, load};

#[test]
fn the_keys_of_a_place_become_the_drivers_options() {
    for url in [
        "postgres://ada:p%40ss@db.example:5432/files?sslmode=require",
        "postgresql://ada:p%40ss@db.example:5432/files?sslmode=require",
    ] {
        let postgres = [("artifacts.driver", "postgres"), ("artifacts.dsn", url)];
        let expected = artifact_store::Config::new("postgres").option("url", url);
        assert_eq!(load(None, &[], &postgres).unwrap().artifacts.store, expected);
    }

    let file = File::new(
        "a.yaml",
        "artifacts:\n  driver: s3\n  s3_bucket: b\n  s3_endpoint: http://127.0.0.1:3900\n  s3_region: garage\n  \
         s3_prefix: p\n  s3_use_path_style: true\n  options: {presign_put: false}\n",
    );
    let env = [
        ("ARTIFACTD__ARTIFACTS__S3_ACCESS_KEY_ID", "id"),
        ("ARTIFACTD__ARTIFACTS__S3_SECRET_ACCESS_KEY", "secret"),
    ];
    let expected = artifact_store::Config::new("s3")
        .option("bucket", "b")
        .option("endpoint", "http://127.0.0.1:3900")
        .option("region", "garage")
        .option("prefix", "p")
        .option("path_style", true)
        .option("access_key_id", "id")
        .option("secret_access_key", "secret")
        .option("presign_put", false);
    assert_eq!(load(Some(&file.path), &env, &[]).unwrap().artifacts.store, expected);
}

/// What is not set is not passed on, so the table may not say another default than the driver's.
#[test]
fn the_defaults_of_a_places_keys_are_the_drivers() {
    let registry = artifact_store::drivers().unwrap();
    let options = registry.driver("s3").unwrap().info().options;
    for (key, option) in [("artifacts.s3_region", "region"), ("artifacts.s3_use_path_style", "path_style")] {
        let key = KEYS.iter().find(|row| row.name == key).unwrap();
        let option = options.iter().find(|row| row.name == option).unwrap();
        assert_eq!(key.default, option.default, "{}", key.name);
    }
}

#[test]
fn a_place_that_is_not_the_drivers_is_refused_with_one_line_and_no_secret() {
    let secret = "hunter2";
    for (flags, says) in [
        (
            vec![("artifacts.driver", "postgres")],
            "command line: artifacts.driver: the driver postgres needs artifacts.dsn, such as postgres://user:password@host:5432/name",
        ),
        (
            vec![("artifacts.driver", "postgres"), ("artifacts.dsn", "/var/lib/hunter2.db")],
            "command line: artifacts.dsn: the driver postgres takes a URL such as postgres://user:password@host:5432/name",
        ),
        (
            vec![("artifacts.driver", "postgres"), ("artifacts.dsn", "mysql://a:hunter2@h/d")],
            "command line: artifacts.dsn: the driver postgres takes a URL such as postgres://user:password@host:5432/name",
        ),
        (
            vec![
                ("artifacts.driver", "postgres"),
                ("artifacts.dsn", "postgres://a:hunter2@h/d?sslmode=require&schema=x"),
            ],
            "command line: artifacts.dsn: the URL is for the database alone; what it says of the store is written as artifacts.options.schema",
        ),
        (
            vec![
                ("artifacts.driver", "postgres"),
                ("artifacts.dsn", "postgres://a:hunter2@h/d?cursor_secret=hunter2"),
            ],
            "command line: artifacts.dsn: the URL is for the database alone; what it says of the store is written as artifacts.cursor_secret",
        ),
        (
            vec![
                ("artifacts.driver", "postgres"),
                ("artifacts.dsn", "postgres://a:hunter2@h/d"),
                ("artifacts.options.url", "postgres://a:hunter2@h/d"),
            ],
            "command line: artifacts.options.url: this is written as artifacts.dsn",
        ),
        (
            vec![("artifacts.driver", "s3")],
            "command line: artifacts.driver: the driver s3 needs artifacts.s3_bucket, such as artifacts",
        ),
        (
            vec![("artifacts.s3_secret_access_key", secret)],
            "command line: artifacts.s3_secret_access_key: it is of the driver s3; set artifacts.driver, too",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.s3_secret_access_key", "hunter2\n"),
            ],
            "command line: artifacts.s3_secret_access_key: the value is not legal; it takes a text that is not empty, without control characters",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.s3_use_path_style", "yes"),
            ],
            "command line: artifacts.s3_use_path_style: 'yes' is not legal; it takes true or false",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.s3_secret_access_key", secret),
            ],
            "command line: artifacts.s3_secret_access_key: it comes with artifacts.s3_access_key_id; set both, or neither",
        ),
        (
            vec![("artifacts.driver", "s3"), ("artifacts.s3_bucket", "b"), ("artifacts.options.region", "r")],
            "command line: artifacts.options.region: this is written as artifacts.s3_region",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.options.presign_put", secret),
            ],
            "command line: artifacts.options.presign_put: the option 'presign_put' of the driver s3 is not legal; it takes true or false",
        ),
    ] {
        let line = load(None, &[], &flags).unwrap_err();
        assert_eq!(line, says);
        assert!(!line.contains(secret));
    }
}
