#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oxpost_fuzz::local(data, |offer| oxpost_protocol::pop3::Local::new(offer));
});
