//! Tests of the programs as users run them: real processes of the real binary.

mod architecture;
mod bad_input;
mod demo;
mod dev;
mod failover;
mod forwarding;
mod java_store;
mod programs;
mod run;
mod scripts;
