#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oxpost_fuzz::whole::check(oxpost::testing::Protocol::Smtp, data);
});
