#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oxpost_fuzz::upstream(data, false, |login, _, known| {
        Ok(oxpost_protocol::imap::Upstream::new(login)?.with_known_offer(known))
    });
});
