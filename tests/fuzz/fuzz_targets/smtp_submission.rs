#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = oxpost_fuzz::session::check(data);
});
