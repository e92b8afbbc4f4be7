//! Replies that report too many concurrent connections or too high a rate.

/// Whether a reply (its code and words, on one line) refuses something only because a mailbox has too much on its way, so
/// that the same will be taken a little later.
///
/// <https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission>,
/// <https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/non-delivery-reports-in-exchange-online>
/// (4.7.500 to 4.7.699).
pub fn is_throttled(reply: &str) -> bool {
    let mut words = reply.split(' ');
    let (code, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !code.starts_with('4') {
        return false;
    }
    let busy = status.strip_prefix("4.7.").and_then(|detail| detail.parse().ok());
    let said = ["concurrent connections", "thread limit", "throttl", "too many concurrent", "rate limit"];
    let lower = reply.to_ascii_lowercase();
    (code == "432" && status == "4.3.2")
        || busy.is_some_and(|detail: u16| (500..700).contains(&detail))
        || said.iter().any(|words| lower.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_throttling() {
        for (reply, throttled) in [
            (
                "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending [Hostname=x]",
                true,
            ),
            ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", true),
            (
                "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
                true,
            ),
            ("451 4.7.500 Server busy. Please try again later", true),
            ("451 4.7.699 Server busy", true),
            ("450 4.2.1 Request is throttled", true),
            ("432 4.7.12 A password transition is needed", false),
            ("421 4.3.2 Service not active", false),
            ("451 4.7.0 Temporary server error. Please try again later. PRX4", false),
            ("451 4.7.700 x", false),
            ("550 5.7.1 Too many concurrent connections", false),
            ("454 4.7.0 Temporary authentication failure", false),
            ("", false),
        ] {
            assert_eq!(is_throttled(reply), throttled, "{reply}");
        }
    }
}
