//! The names of the methods: [`Method`].

use std::fmt;

/// The version of the protocol, which every successful response contains.
pub const PROTOCOL_VERSION: &str = "0.1.0";

macro_rules! methods {
    ($($name:ident = $wire_name:literal, $description:literal;)+) => {
        /// A method of the control plane, served at `POST /v1/control/{method}`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $(#[doc = $description] $name,)+
        }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Method] = &[$(Method::$name,)+];

            /// The method's name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Method::$name => $wire_name,)+ }
            }

            /// A description of the method, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Method::$name => $description,)+ }
            }

            /// The method with this name; `None` if there is none.
            ///
            /// # Examples
            /// ```
            /// use artifact_store_protocol::Method;
            /// assert_eq!(Method::from_name("artifacts.put"), Some(Method::ArtifactsPut));
            /// assert_eq!(Method::from_name("start"), None);
            /// ```
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|method| method.name() == name)
            }
        }
    };
}

methods! {
    ArtifactsPut = "artifacts.put", "Stores bytes under a scope and returns their ref.";
    ArtifactsGet = "artifacts.get", "Reads a range of an artifact's bytes.";
    ArtifactsGetRef = "artifacts.get_ref", "Returns a presigned URL that downloads an artifact.";
    ArtifactsList = "artifacts.list", "Lists artifacts, newest first, a page at a time.";
    ArtifactsDelete = "artifacts.delete", "Deletes an artifact.";
    RuntimeInfo = "runtime.info", "Describes the runtime and its capabilities.";
    RuntimeHealth = "runtime.health", "Reports the health of the runtime's subsystems.";
    RuntimeDrivers = "runtime.drivers", "Lists the compiled-in drivers, the active one, and the capabilities of each.";
}

impl Method {
    /// The surface of the method: the part of its name before the dot.
    pub fn surface(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
