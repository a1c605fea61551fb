//! The client against a name server and broker that do as they are told.

mod consumers;
mod fake_cluster;
mod producers;
