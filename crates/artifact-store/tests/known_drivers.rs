//! A known driver is compiled in, or the error of opening it names the missing feature. `.ci/run` runs this test with
//! each driver's feature alone.

use artifact_store::{ErrorKind, drivers, open};

const KNOWN: &[(&str, bool)] = &[
    ("azure", cfg!(feature = "azure")),
    ("fs", cfg!(feature = "fs")),
    ("gcs", cfg!(feature = "gcs")),
    ("inmem", cfg!(feature = "inmem")),
    ("postgres", cfg!(feature = "postgres")),
    ("s3", cfg!(feature = "s3")),
    ("sqlite", cfg!(feature = "sqlite")),
];

#[tokio::test]
async fn a_known_driver_is_registered_or_its_error_names_the_feature() {
    let registry = drivers().unwrap();
    for (name, is_compiled_in) in KNOWN {
        if *is_compiled_in {
            assert!(registry.driver(name).is_ok(), "{name}");
            continue;
        }
        let error = open(&format!("{name}:").parse().unwrap()).await.unwrap_err();
        let expected =
            format!("the driver {name} is not compiled in; enable the feature `{name}` of `artifact-store`");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidArgument, expected));
    }
    // The schemes of these drivers are not their names.
    for (scheme, name, is_compiled_in) in
        [("az", "azure", cfg!(feature = "azure")), ("gs", "gcs", cfg!(feature = "gcs"))]
    {
        if is_compiled_in {
            assert_eq!(registry.driver(scheme).unwrap().info().name, name);
            continue;
        }
        let error = open(&format!("{scheme}://place/prefix").parse().unwrap()).await.unwrap_err().to_string();
        let expected = format!(
            "the driver {scheme} is not compiled in; enable the feature `{name}` of `artifact-store`"
        );
        assert_eq!(error, expected);
    }
    let registered: Vec<&str> = registry.drivers().map(|driver| driver.info().name).collect();
    let compiled_in: Vec<&str> =
        KNOWN.iter().filter(|(_, is_compiled_in)| *is_compiled_in).map(|(name, _)| *name).collect();
    assert_eq!(registered, compiled_in);
}
