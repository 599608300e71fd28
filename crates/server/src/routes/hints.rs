//! The messages for requests that no route serves. Each message says what the server serves instead. A message consists
//! of fixed text and entries of the table of routes, so it never repeats what a client sent.

use std::sync::LazyLock;

use artifact_store_protocol::Method;

use super::{ROUTES, Route, RouteKind};

/// The message for a path that is not a route.
pub(crate) fn unknown_path() -> &'static str {
    static MESSAGE: LazyLock<String> = LazyLock::new(|| {
        let routes: Vec<String> =
            ROUTES.iter().map(|route| format!("{} {}", route.verbs[0], route.path)).collect();
        format!("this runtime serves no such path; it serves {}", routes.join(", "))
    });
    &MESSAGE
}

/// The message for an HTTP method that `route` does not have.
pub(crate) fn unsupported_http_method(route: &Route) -> String {
    let verbs = route.verbs.join(" or ");
    let hint = match route.kind {
        RouteKind::Upload => "; a listing is POST /v1/control/artifacts.list",
        RouteKind::Download => "; to delete, POST /v1/control/artifacts.delete",
        _ => "",
    };
    format!("this path takes {verbs}, not this verb{hint}")
}

/// The message for a control method that does not exist.
pub(crate) fn unknown_method() -> &'static str {
    static MESSAGE: LazyLock<String> = LazyLock::new(|| {
        let methods: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
        format!("this runtime serves no such method; it serves {}", methods.join(", "))
    });
    &MESSAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_for_a_wrong_path_verb_or_method_names_the_right_ones() {
        for route in ROUTES {
            assert!(unknown_path().contains(route.path), "{}", route.path);
            for verb in route.verbs {
                assert!(unsupported_http_method(route).contains(verb), "{verb} {}", route.path);
            }
        }
        for method in Method::ALL {
            assert!(unknown_method().contains(method.name()), "{method}");
        }
    }
}
