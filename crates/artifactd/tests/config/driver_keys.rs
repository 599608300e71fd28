//! The keys that set options of drivers: the options that they set, and the whole line of every error.

use artifactd::config::keys::KEYS;

use crate::loading::{ConfigFile, load};

#[test]
fn the_keys_of_a_driver_become_its_options() {
    for url in [
        "postgres://ada:p%40ss@db.example:5432/files?sslmode=require",
        "postgresql://ada:p%40ss@db.example:5432/files?sslmode=require",
    ] {
        let postgres = [("artifacts.driver", "postgres"), ("artifacts.dsn", url)];
        let expected = artifact_store::Config::new("postgres").option("url", url);
        assert_eq!(load(None, &[], &postgres).unwrap().artifacts.store, expected);
    }

    let file = ConfigFile::new(
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

/// A key that is not set is not passed to the driver. So the default in the table of keys must be the default of the
/// driver.
#[test]
fn the_defaults_of_driver_keys_are_those_of_the_driver() {
    let registry = artifact_store::drivers().unwrap();
    let options = registry.driver("s3").unwrap().info().options;
    for (key, option) in [("artifacts.s3_region", "region"), ("artifacts.s3_use_path_style", "path_style")] {
        let key = KEYS.iter().find(|row| row.name == key).unwrap();
        let option = options.iter().find(|row| row.name == option).unwrap();
        assert_eq!(key.default, option.default, "{}", key.name);
    }
}

#[test]
fn wrong_values_of_driver_keys_are_refused_with_one_line_and_no_secret() {
    let secret = "hunter2";
    for (flags, message) in [
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
            "command line: artifacts.dsn: the URL has a parameter that is not for the database but for the store; set artifacts.options.schema",
        ),
        (
            vec![
                ("artifacts.driver", "postgres"),
                ("artifacts.dsn", "postgres://a:hunter2@h/d?cursor_secret=hunter2"),
            ],
            "command line: artifacts.dsn: the URL has a parameter that is not for the database but for the store; set artifacts.cursor_secret",
        ),
        (
            vec![
                ("artifacts.driver", "postgres"),
                ("artifacts.dsn", "postgres://a:hunter2@h/d"),
                ("artifacts.options.url", "postgres://a:hunter2@h/d"),
            ],
            "command line: artifacts.options.url: set this option as artifacts.dsn",
        ),
        (
            vec![("artifacts.driver", "s3")],
            "command line: artifacts.driver: the driver s3 needs artifacts.s3_bucket, such as artifacts",
        ),
        (
            vec![("artifacts.s3_secret_access_key", secret)],
            "command line: artifacts.s3_secret_access_key: this key is of the driver s3; set artifacts.driver, too",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.s3_access_key_id", "a"),
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
            "command line: artifacts.s3_use_path_style: 'yes' is not legal; it takes true or false; write true",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.s3_secret_access_key", secret),
            ],
            "command line: artifacts.s3_secret_access_key: this key requires artifacts.s3_access_key_id; set both, or neither",
        ),
        (
            vec![("artifacts.driver", "s3"), ("artifacts.s3_bucket", "b"), ("artifacts.options.region", "r")],
            "command line: artifacts.options.region: set this option as artifacts.s3_region",
        ),
        (
            vec![
                ("artifacts.driver", "s3"),
                ("artifacts.s3_bucket", "b"),
                ("artifacts.options.presign_put", secret),
            ],
            "command line: artifacts.options.presign_put is not legal; it takes true or false",
        ),
    ] {
        let line = load(None, &[], &flags).unwrap_err();
        assert_eq!(line, message);
        assert!(!line.contains(secret));
    }
}
