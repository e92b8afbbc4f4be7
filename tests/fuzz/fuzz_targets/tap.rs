#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oxpost_fuzz::tap::check(data);
});
