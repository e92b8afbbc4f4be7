//! An open circuit in words, for `oxpost status` and `oxpost doctor`.

use oxpost_token_store::{Applications, OpenCircuit};

use crate::admin::timestamp::rfc3339;

/// Which authority is not asked, for which applications, until when, why, and what to do.
pub(crate) fn sentence(open: &OpenCircuit, applications: &Applications) -> String {
    let known = applications.names().into_iter().filter_map(|name| applications.get(name));
    let whose: Vec<&str> =
        known.filter(|one| open.concerns(one, None)).map(|application| application.name.as_str()).collect();
    let whose = if whose.is_empty() { "(not in proxy.toml)".into() } else { whose.join(", ") };
    let again = match rfc3339(open.asked_again) {
        Some(time) => format!("gets no requests until {time}"),
        None => "gets the next request as a probe".to_owned(),
    };
    let reason = if open.reason.is_empty() { "It does not answer." } else { &open.reason };
    format!(
        "application {whose}: the sign-in service {again} ({}). {reason} Valid access tokens are still used; nothing needs to \
         be done. If this continues, run `oxpost doctor`, which sends a request now.",
        open.authority()
    )
}
