//! Hostile and broken peers against the real binary: whoever sends nonsense is told so and counted, memory stays
//! within its bounds, good requests are served all the while, and every account balances to the end.
//!
//! Nothing here needs a network beyond loopback, or anything installed.

mod auth;
mod bodies;
mod connections;
mod destinations;
mod failover;
mod files;
mod http2;
mod lifecycle;
mod memory;
mod pages;
mod profiles;
mod series;
mod servers;
mod smuggling;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod told;
