//! Variables that begin with `ARTIFACTD_` and are not keys.

use crate::loading::load;

#[test]
fn an_unknown_variable_is_refused_with_a_suggestion() {
    for (name, message) in [
        ("ARTIFACTD_ARTIFACTS__DRIVER", "did you mean ARTIFACTD__ARTIFACTS__DRIVER?"),
        ("ARTIFACTD_ARTIFACTS_DRIVER", "did you mean ARTIFACTD__ARTIFACTS__DRIVER?"),
        ("ARTIFACTD_SERVER_BIND_ADRR", "did you mean ARTIFACTD__SERVER__BIND_ADDR?"),
        ("ARTIFACTD_LOG_LEVEL", "did you mean ARTIFACTD__TELEMETRY__LOG_LEVEL?"),
        ("ARTIFACTD_STROE", "did you mean ARTIFACTD_STORE?"),
        ("ARTIFACTD_ZZZ", "a key is set by ARTIFACTD__SECTION__KEY, such as ARTIFACTD__ARTIFACTS__DRIVER"),
        ("ARTIFACTD_", "a key is set by ARTIFACTD__SECTION__KEY, such as ARTIFACTD__ARTIFACTS__DRIVER"),
    ] {
        let line = load(None, &[(name, "hunter2")], &[]).unwrap_err();
        assert_eq!(line, format!("environment variable {name}: there is no such variable; {message}"));
    }
}

/// A cluster sets these variables in every container for a service that is called artifactd.
#[test]
fn the_variables_of_a_service_of_this_name_are_ignored() {
    for (name, value) in [
        ("ARTIFACTD_SERVICE_HOST", "10.0.0.1"),
        ("ARTIFACTD_SERVICE_HOST", "fd00::1"),
        ("ARTIFACTD_SERVICE_PORT", "80"),
        ("ARTIFACTD_SERVICE_PORT_HTTP", "80"),
        ("ARTIFACTD_PORT", "tcp://10.0.0.1:80"),
        ("ARTIFACTD_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("ARTIFACTD_PORT_80_TCP_PROTO", "tcp"),
        ("ARTIFACTD_PORT_80_TCP_PORT", "80"),
        ("ARTIFACTD_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("ARTIFACTD_PORT_53_UDP", "udp://10.0.0.1:53"),
        ("ARTIFACTD_READ_ONLY_SERVICE_HOST", "10.0.0.1"),
        ("ARTIFACTD_READ_ONLY_PORT_80_TCP_ADDR", "10.0.0.1"),
    ] {
        load(None, &[(name, value)], &[]).unwrap_or_else(|line| panic!("{line}"));
    }
}

#[test]
fn variables_that_only_resemble_those_of_a_service_are_refused() {
    for (name, value) in [
        ("ARTIFACTD_PORT", "8080"),
        ("ARTIFACTD_SERVICE_HOST", "0.0.0.0:80"),
        ("ARTIFACTD_SERVICE_PORT", "tcp"),
        ("ARTIFACTD_SERVICE_NAME", "files"),
        ("ARTIFACTD_PORT_80", "80"),
        ("ARTIFACTD_PORT_80_TCP_NAME", "80"),
        ("ARTIFACTD_SERVER__PORT", "tcp://10.0.0.1:80"),
    ] {
        let line = load(None, &[(name, value)], &[]).unwrap_err();
        assert!(
            line.starts_with(&format!("environment variable {name}: there is no such variable")),
            "{line}"
        );
    }
}

#[test]
fn variables_of_the_program_that_are_not_keys_and_those_of_others_are_ignored() {
    for name in
        ["ARTIFACTD_STORE", "ARTIFACTD_COMMIT", "ARTIFACTD_BIN", "ARTIFACTDX", "artifactd_x", "ARTIFACT_X"]
    {
        load(None, &[(name, "anything")], &[]).unwrap();
    }
}
