//! The facade, used as a runtime uses it. `known_drivers` has a binary of its own: it runs without most drivers.

mod facade_alone;
mod files_and_readers;
mod http_bodies;
mod open_options;
mod opening;
mod own_driver;
mod testing_tools;
mod url_forms;
