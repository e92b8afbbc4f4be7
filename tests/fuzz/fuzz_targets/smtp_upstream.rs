#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oxpost_fuzz::upstream(data, true, |login, start_tls, known| {
        Ok(oxpost_protocol::smtp::Upstream::new(login, oxpost_fuzz::options(start_tls))?.with_known_offer(known))
    });
});
