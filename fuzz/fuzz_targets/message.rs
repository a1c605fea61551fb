#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| raftmq_fuzz::message::run(input));
