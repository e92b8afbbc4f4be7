#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oxpost_fuzz::upstream(data, false, |login, _, _| oxpost_protocol::pop3::Upstream::new(login));
});
