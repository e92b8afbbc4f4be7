use oxpost_token_store::store::LastError;
use oxpost_token_store::{Application, Credential, Mailbox, NextSecret};
use url::Url;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn alice() -> Account {
    Account::new(Mailbox::parse("alice@contoso.com").unwrap(), "default", Grant::SignIn, start())
}

/// A token of 80 minutes, obtained at the start, and this failure since.
fn state(kind: ErrorKind, code: Option<u32>, since: SystemTime) -> TokenState {
    TokenState {
        renamed_to: None,
        signed_in_as: None,
        has_refresh_token: true,
        access_token_expires: Some(start() + 80 * MINUTE),
        refreshed_at: Some(start()),
        next_refresh: None,
        last_error: Some(LastError {
            kind,
            text: "What happened. What to do. [detail]".into(),
            what: "What happened.".into(),
            remedy: "What to do.".into(),
            code,
            at: since,
            since,
        }),
    }
}

fn found(state: &TokenState, now: SystemTime) -> Vec<Finding> {
    let accounts = [(alice(), state.clone())];
    find(
        &Observed { accounts: &accounts, unreadable: &[], applications: &Applications::default(), is_settling: false },
        now,
        MONTH,
    )
}

fn only(findings: Vec<Finding>) -> Condition {
    match <[Finding; 1]>::try_from(findings).unwrap() {
        [Finding::Condition(condition)] => condition,
        [other] => panic!("{other:?}"),
    }
}

#[test]
fn required_sign_in_is_found_immediately_with_its_cause() {
    let since = start() + 56 * MINUTE;
    let condition = only(found(&state(ErrorKind::SignInRequired, Some(50_173), since), since));
    assert_eq!((condition.event, condition.cause.as_str()), (Event::SignInNeeded, "AADSTS50173"));
    assert_eq!((condition.what.as_str(), condition.remedy.as_str()), ("What happened.", "What to do."));
    assert_eq!((condition.subject.as_str(), condition.since), ("alice@contoso.com", since));
    let condition = only(found(&state(ErrorKind::Misconfigured, None, since), since));
    assert_eq!((condition.event, condition.cause.as_str()), (Event::Misconfigured, "What happened."));
}

#[test]
fn a_refresh_may_fail_for_half_the_life_of_a_token() {
    for kind in [ErrorKind::Transient, ErrorKind::Store] {
        let since = start() + 56 * MINUTE;
        let failing = state(kind, None, since);
        let unsure = Finding::Unsure("alice@contoso.com".into(), Topic::Tokens);
        assert_eq!(found(&failing, since + 39 * MINUTE), [unsure]);
        let condition = only(found(&failing, since + 40 * MINUTE));
        assert_eq!((condition.event, condition.cause.as_str()), (Event::RefreshFailing, ""));
        // There has never been a token of this account.
        let cold = TokenState { refreshed_at: None, access_token_expires: None, ..failing };
        assert!(matches!(found(&cold, since + 29 * MINUTE)[..], [Finding::Unsure(..)]));
        assert_eq!(only(found(&cold, since + 30 * MINUTE)).event, Event::RefreshFailing);
    }
    let healthy = TokenState { last_error: None, ..state(ErrorKind::Transient, None, start()) };
    assert_eq!(found(&healthy, start() + 24 * 60 * MINUTE), []);
}

/// Ninety days without a single refresh: a service that did not run, or an authority that could not be reached.
#[test]
fn unused_sign_in_is_found_before_it_expires() {
    let idle = TokenState { last_error: None, ..state(ErrorKind::Transient, None, start()) };
    assert_eq!(found(&idle, start() + 59 * DAY), []);
    let condition = only(found(&idle, start() + 60 * DAY));
    assert_eq!((condition.event, condition.topic), (Event::Expiring, Topic::End));
    assert!(
        condition.what.contains("since 2027-01-15") && condition.what.contains("on 2027-04-15"),
        "{}",
        condition.what
    );
    // A refresh is due, and the service has just begun: it may be over in a moment.
    let settling = |state: &TokenState| {
        let accounts = [(alice(), state.clone())];
        let observed = Observed {
            accounts: &accounts,
            unreadable: &[],
            applications: &Applications::default(),
            is_settling: true,
        };
        find(&observed, start() + 60 * DAY, MONTH)
    };
    assert_eq!(settling(&idle), [Finding::Unsure("alice@contoso.com".into(), Topic::End)]);
    let tried = TokenState { next_refresh: Some(start() + 61 * DAY), ..idle.clone() };
    assert_eq!(only(settling(&tried)).event, Event::Expiring);
    let never = TokenState { has_refresh_token: false, ..idle.clone() };
    assert_eq!(found(&never, start() + 60 * DAY), []);
    let app_only = Account { grant: Grant::ClientCredentials, ..alice() };
    let accounts = [(app_only, idle)];
    let observed =
        Observed { accounts: &accounts, unreadable: &[], applications: &Applications::default(), is_settling: false };
    assert_eq!(find(&observed, start() + 60 * DAY, MONTH), []);
}

#[test]
fn expiring_secret_is_found_before_its_end_and_at_it() {
    let url = |text| Url::parse(text).unwrap();
    let application = Application {
        name: "default".into(),
        tenant: None,
        authorize_url: url("https://login.example/a"),
        authorize_parameters: Vec::new(),
        redirect_uri: None,
        token_url: url("https://login.example/t"),
        device_code_url: None,
        client_id: "c".into(),
        credential: Credential::Secret,
        client_secret: None,
        client_secret_expires: Some(start() + 40 * DAY),
        next_client_secret: None,
        delegated_scopes: Vec::new(),
        openid: false,
        app_scopes: Vec::new(),
    };
    let with_next = Application {
        next_client_secret: Some(NextSecret { expires: Some(start() + 400 * DAY) }),
        ..application.clone()
    };
    let applications = Applications::from_iter([application]);
    let at = |now| {
        find(&Observed { accounts: &[], unreadable: &[], applications: &applications, is_settling: false }, now, MONTH)
    };
    assert_eq!(at(start() + 9 * DAY), []);
    let before = only(at(start() + 10 * DAY));
    assert_eq!((before.subject.as_str(), before.cause.as_str()), ("application default", "expires 2027-02-24"));
    assert!(before.what.contains("in 30 days") && before.remedy.contains("Certificates & secrets"), "{before:?}");
    assert_eq!(before.since, start() + 10 * DAY);
    assert_eq!(only(at(start() + 40 * DAY)).cause, "expired 2027-02-24");
    // A next one that Microsoft has not accepted yet changes only what is to be done.
    let applications = Applications::from_iter([with_next]);
    let observed = Observed { accounts: &[], unreadable: &[], applications: &applications, is_settling: false };
    let alert = only(find(&observed, start() + 10 * DAY, MONTH));
    assert_eq!((alert.cause.as_str(), alert.what.as_str()), (before.cause.as_str(), before.what.as_str()));
    assert!(alert.remedy.contains("The next client secret is stored"), "{alert:?}");
}

#[test]
fn account_with_a_damaged_row_is_found() {
    let observed = Observed {
        accounts: &[],
        unreadable: &["bob@contoso.com".into()],
        applications: &Applications::default(),
        is_settling: false,
    };
    let condition = only(find(&observed, start(), MONTH));
    assert_eq!((condition.event, condition.subject.as_str()), (Event::Store, "bob@contoso.com"));
    assert!(condition.remedy.contains("oxpost account remove bob@contoso.com"));
}

/// Noted in 2020, by a clock that is right by now; or in 2030.
#[test]
fn error_of_another_time_is_no_alert_until_it_is_confirmed() {
    let years = 6 * 365 * DAY;
    for noted in [start() - years, start() + years] {
        for kind in [ErrorKind::Transient, ErrorKind::Store, ErrorKind::Misconfigured, ErrorKind::SignInRequired] {
            // What is tried again shows whether it is over.
            let retried = state(kind, None, noted);
            assert_eq!(found(&retried, start()), [Finding::Unsure("alice@contoso.com".into(), Topic::Tokens)]);
            // So does the next login; a required sign-in does not pass by itself.
            let unused = TokenState { has_refresh_token: false, ..retried };
            match (kind, found(&unused, start())) {
                (ErrorKind::SignInRequired, findings) => assert_eq!(only(findings).event, Event::SignInNeeded),
                (_, findings) => {
                    assert_eq!(findings, [Finding::Unsure("alice@contoso.com".into(), Topic::Tokens)], "{kind:?}");
                }
            }
        }
    }
    let unused = TokenState { has_refresh_token: false, ..state(ErrorKind::Misconfigured, None, start()) };
    assert_eq!(
        only(found(&unused, start() + 23 * 60 * MINUTE)).event,
        Event::Misconfigured,
        "a client may wait for it"
    );
    let ahead = state(ErrorKind::SignInRequired, None, start() + 4 * MINUTE);
    assert_eq!(only(found(&ahead, start())).event, Event::SignInNeeded, "another node's clock");
}
