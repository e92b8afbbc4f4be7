//! The tables, and what is made of a refusal.

use oxpost_protocol::line::reply_text;

use super::*;

const DELEGATED: Names<'_> =
    Names { mailbox: "scan@contoso.com", application: "office", grant: Grant::SignIn, vendor: Vendor::Microsoft };

fn refused(error: &str, suberror: Option<&str>, codes: &[u32], description: &str) -> TokenError {
    classify(&Refusal { error, suberror, codes, description, trace_id: None }, &DELEGATED)
}

const LONG: &str = "a.user.with.a.long.name@subsidiary.contoso.com";

fn tables() -> [(Grant, Vec<&'static Row>); 3] {
    [
        (Grant::SignIn, rows().collect()),
        (Grant::Password, password_grant_codes().iter().collect()),
        (Grant::ClientCredentials, app_only_codes().iter().collect()),
    ]
}

#[test]
fn every_row_is_one_sentence_and_one_place_to_go_to() {
    for (grant, rows) in tables() {
        for row in &rows {
            assert_eq!(rows.iter().filter(|other| other.code == row.code).count(), 1, "{} is there twice", row.code);
            assert!(row.what.ends_with('.') && row.remedy.ends_with('.'), "{row:?}");
            let places =
                ["admin center", "`oxpost ", "proxy.toml", "PowerShell", "https://", "timedatectl", "administrator"];
            assert!(places.iter().any(|place| row.remedy.contains(place)), "{row:?}");
            let again = ["tried again", "tries again", "see the log"];
            assert!(!again.iter().any(|words| row.remedy.contains(words)), "{row:?}");
            let names = Names { grant, mailbox: LONG, ..DELEGATED };
            let error = classify(&Refusal { error: "invalid_grant", codes: &[row.code], ..Refusal::default() }, &names);
            let problem = error.problem().unwrap();
            assert_eq!((error.kind(), problem.code), (row.kind, Some(row.code)));
            assert_eq!(problem.what.split(' ').next(), row.what.split(' ').next());
            let sentence = format!("{} {}", problem.what, problem.remedy);
            assert!(!sentence.contains(['{', '}']), "{sentence}");
            assert_eq!(reply_text(&sentence), sentence, "it is shown in a mail client's dialog box, whole");
        }
    }
}

/// What Microsoft publishes of sign-ins, refreshes and proofs of applications. Not in it: SAML, WS-Federation of other programs,
/// sign-out, changes of passwords, the registration of devices, tokens on behalf of others.
#[test]
fn every_published_number_of_a_mail_bridge_has_a_row() {
    const PUBLISHED: &[u32] = &[
        16000, 16001, 16002, 160021, 16003, 20001, 20012, 20033, 230109, 28002, 28003, 40008, 40009, 40010, 40015,
        50000, 50001, 50002, 500011, 500021, 500022, 50005, 50006, 50008, 5000819, 50011, 50012, 50013, 500133, 50014,
        50015, 50017, 50020, 500208, 500212, 500213, 50027, 50029, 50033, 50034, 50048, 50049, 50050, 50053, 50055,
        50056, 50057, 50058, 50059, 50064, 50072, 50074, 50076, 50078, 50079, 50085, 50086, 50087, 50088, 50089, 50097,
        50105, 50107, 50120, 50125, 50126, 50127, 50128, 50129, 50131, 50132, 50133, 50134, 50135, 50136, 50139, 50140,
        50143, 50144, 50146, 501461, 50147, 501481, 501491, 50155, 50158, 50161, 50166, 50168, 50169, 50170, 50173,
        50177, 50178, 50180, 50187, 50192, 50194, 50196, 50197, 50199, 51000, 51001, 1000104, 51004, 51006, 53000,
        53001, 53002, 53003, 530035, 53004, 53010, 53011, 530034, 54000, 54005, 65001, 65002, 65004, 65005, 650052,
        650054, 650056, 650057, 70000, 70001, 700011, 70002, 700025, 700027, 70003, 700030, 70004, 70005, 700054,
        70007, 70008, 700082, 700084, 70011, 70012, 70016, 70018, 70019, 70043, 80001, 80002, 80005, 80007, 80010,
        80012, 80013, 80014, 81004, 81005, 81006, 81007, 81009, 81010, 81011, 81012, 90002, 90004, 90005, 90006, 90008,
        90009, 90010, 9001023, 90012, 90013, 90014, 900144, 90015, 90019, 90023, 9002313, 9002332, 90024, 90027, 90033,
        90036, 90038, 900384, 90043, 900432, 90051, 90055, 90056, 900561, 90072, 90081, 90082, 90084, 90085, 90086,
        90090, 90091, 90092, 90093, 90094, 900382, 90095, 90099, 900971, 90100, 901002, 90101, 90102, 90117, 90119,
        90120, 90121, 90123, 90124, 90130, 130007, 130008, 135011, 165900, 501621, 530032, 700016, 700020, 700022,
        700023, 7000215, 7000218, 7000222, 700229, 700005, 100007, 1000031, 7000112, 9002341,
    ];
    // Seen in the field.
    const REPORTED: &[u32] = &[
        500014, 500121, 501051, 50052, 50137, 53009, 530003, 530021, 530033, 530036, 530084, 65006, 650051, 650053,
        70020, 70021, 70044, 700021, 700024, 700026, 700038, 700081, 700083, 700211, 700212, 700213, 700222, 700226,
        700236, 7000012, 7000110, 7000216, 7000219, 7000229, 90061, 900023, 90112, 9002325, 9002326, 9002327, 9002331,
        9002346,
    ];
    let missing: Vec<_> = PUBLISHED.iter().chain(REPORTED).filter(|code| lookup(**code).is_none()).collect();
    assert_eq!(missing, [0_u32; 0].iter().collect::<Vec<_>>());
    let all: Vec<u32> = PUBLISHED.iter().chain(REPORTED).copied().collect();
    let unknown: Vec<u32> = rows().map(|row| row.code).filter(|code| !all.contains(code)).collect();
    assert!(unknown.is_empty(), "not in the lists of this test: {unknown:?}");
}

/// Number, kind, a part of the meaning and a part of the remedy, for those that administrators meet most.
#[test]
fn numbers_of_the_field_have_their_meaning_and_remedy() {
    use ErrorKind::{Misconfigured as Wrong, SignInRequired as Sign, Transient as Pass};
    for (code, kind, what, remedy) in [
        (50_105, Sign, "not assigned to the application", "Enterprise applications > Users and groups"),
        (50_158, Sign, "second factor of another provider", "Conditional Access"),
        (500_014, Wrong, "Exchange Online is disabled", "Billing > Licenses"),
        (500_021, Wrong, "proxy on the way", "Restrict-Access-To-Tenants"),
        (500_121, Sign, "refused, or was not given in time", "oxpost sign-in scan@contoso.com"),
        (530_036, Sign, "blocks device codes", "--paste"),
        (530_084, Sign, "token protection", "Conditional Access"),
        (65_006, Wrong, "lists a permission", "API permissions"),
        (650_053, Wrong, "does not have", "SMTP.Send"),
        (7_000_012, Sign, "another tenant", "consumers"),
        (7_000_216, Wrong, "neither secret nor certificate", "oxpost application secret office"),
        (7_000_229, Wrong, "service principal", "admin consent"),
        (700_026, Wrong, "no certificate or secret", "Certificates & secrets"),
        (700_236, Wrong, "another tenant", "managed identity"),
        (9_002_327, Wrong, "single-page application", "Mobile and desktop applications"),
        (50_132, Sign, "change of the password", "oxpost sign-in scan@contoso.com"),
        (50_133, Sign, "change of the password", "oxpost sign-in scan@contoso.com"),
        (50_144, Sign, "Active Directory has expired", "myaccount.microsoft.com"),
        (70_044, Sign, "sign-in frequency", "Sign-in frequency"),
        (90_072, Sign, "not known in this tenant", "tenant in proxy.toml"),
        (80_001, Pass, "does not reach Active Directory", "Pass-through authentication"),
        (90_061, Pass, "fetch the keys", "openid-configuration"),
        (50_166, Pass, "did not answer", "Sign-in logs"),
    ] {
        let error = refused("invalid_grant", None, &[code], "");
        let problem = error.problem().unwrap();
        assert_eq!(error.kind(), kind, "{code}");
        assert!(problem.what.contains(what), "{code}: {}", problem.what);
        assert!(problem.remedy.contains(remedy), "{code}: {}", problem.remedy);
        assert_eq!(problem.remedy.starts_with(RETRIED), kind == Pass, "{code}: {}", problem.remedy);
        let for_a_command = error.for_a_command().to_string();
        assert!(!for_a_command.contains("tries again"), "{for_a_command}");
    }
    let app_only = Names { grant: Grant::ClientCredentials, ..DELEGATED };
    for code in app_only_codes().iter().map(|row| row.code) {
        let error = classify(&Refusal { codes: &[code], ..Refusal::default() }, &app_only);
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(!error.to_string().contains("oxpost sign-in"), "no user signs in: {error}");
    }
}

#[test]
fn unknown_number_shows_the_cleaned_sentence_and_trace_id() {
    let description = "AADSTS999123: The \"thing\" is\u{1b}[31m not allowed for application 'x'. Trace ID: 5f3a-11 Correlation ID: \
                       11111111-2222-3333-4444-555555555555 Timestamp: 2026-12-01 10:00:00Z";
    let error = refused("access_denied", None, &[], description);
    let text = error.to_string();
    assert!(
        text.contains("Microsoft says: \"The 'thing' is [31m not allowed for application 'x'.\" (trace id 5f3a-11)."),
        "{text}"
    );
    assert!(text.contains("AADSTS999123") && !text.contains("Correlation") && !text.contains("55555"), "{text}");
    assert!(!text.contains("declined"), "Entra refused, and not the user: {text}");
    let lines = "AADSTS999123: One.\r\nTrace ID: 5f3a-11\r\nCorrelation ID: x";
    assert!(refused("invalid_grant", None, &[], lines).to_string().contains("\"One.\" (trace id 5f3a-11)"));
    let long = format!("AADSTS999123: {}", "word ".repeat(500));
    let names = Names { mailbox: LONG, ..DELEGATED };
    for row in names::names() {
        let (error, suberror) = (row.errors.first().copied().unwrap_or_default(), row.suberrors.first().copied());
        let refusal =
            Refusal { error, suberror, description: &long, trace_id: Some(&"a".repeat(36)), ..Refusal::default() };
        let problem = classify(&refusal, &names).problem().cloned().unwrap();
        let sentence = format!("{} {}", problem.what, problem.remedy);
        assert_eq!(reply_text(&sentence), sentence, "{row:?}");
        assert!(problem.what.contains("Microsoft says: \"word") && problem.code == Some(999_123), "{problem:?}");
    }
}

#[test]
fn refusals_of_google_are_explained_in_its_own_terms() {
    use ErrorKind::{Misconfigured as Wrong, SignInRequired as Sign, Transient as Pass};
    let names = Names { vendor: Vendor::Google, mailbox: LONG, ..DELEGATED };
    for (error, suberror, description, kind, what, remedy) in [
        ("deleted_client", None, "The OAuth client was deleted.", Wrong, "was deleted", "within 30 days"),
        ("disabled_client", None, "The OAuth client was disabled.", Wrong, "is disabled", "Clients"),
        ("invalid_client", None, "Unauthorized", Wrong, "client id or the client secret", "client-id"),
        ("unauthorized_client", None, "", Wrong, "may not be used", "Desktop app"),
        ("admin_policy_enforced", None, "", Sign, "administrator of Google Workspace", "API controls"),
        ("org_internal", None, "", Wrong, "own organization only", "External"),
        ("invalid_scope", None, "", Wrong, "scope", "https://mail.google.com/"),
        ("redirect_uri_mismatch", None, "", Wrong, "returns to", "Desktop app"),
        ("disallowed_useragent", None, "", Sign, "browser", "--no-open"),
        ("invalid_grant", Some("invalid_rapt"), "reauth related error", Sign, "session control", "session control"),
        ("invalid_grant", None, "reauth related error (invalid_rapt)", Sign, "session control", "session control"),
        ("invalid_grant", None, "Token has been expired or revoked.", Sign, "expired or was revoked", "In production"),
        ("access_denied", None, "", Sign, "test user", "Audience"),
        ("account_disabled", None, "", Sign, "disabled", "Directory > Users"),
        ("invalid_request", None, "", Wrong, "does not accept the request", "Clients"),
        ("expired_token", None, "", Sign, "code", "oxpost sign-in"),
        ("interaction_required", None, "", Sign, "new sign-in", "oxpost sign-in"),
        ("rate_limit_exceeded", None, "", Pass, "for the moment", "appsstatus"),
        ("something_new", None, "", Pass, "not known here", "appsstatus"),
    ] {
        let refusal = Refusal { error, suberror, description, ..Refusal::default() };
        let error = classify(&refusal, &names);
        let problem = error.problem().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(problem.what.contains(what) && problem.remedy.contains(remedy), "{error}");
        let text = format!("{} {}", problem.what, problem.remedy);
        assert!(!text.contains("Microsoft") && !text.contains("Entra") && reply_text(&text) == text, "{text}");
    }
}

#[test]
fn every_name_is_explained_in_a_sentence_that_fits_too() {
    for (vendor, rows) in [
        (Vendor::Microsoft, names().collect::<Vec<_>>()),
        (Vendor::Google, google_names().collect()),
        (Vendor::Other, other_names().collect()),
    ] {
        for row in rows {
            let (error, suberror) = (row.errors.first().copied().unwrap_or_default(), row.suberrors.first().copied());
            let grant = if row.app_only { Grant::ClientCredentials } else { Grant::SignIn };
            let names = Names { mailbox: LONG, grant, vendor, ..DELEGATED };
            let refusal = Refusal { error, suberror, description: row.says, ..Refusal::default() };
            let error = classify(&refusal, &names);
            let problem = error.problem().unwrap();
            let sentence = format!("{} {}", problem.what, problem.remedy);
            assert_eq!(error.kind(), row.kind, "an earlier row takes the place of {row:?}");
            assert!(!sentence.contains(['{', '}']) && reply_text(&sentence) == sentence, "{sentence}");
            assert!(!row.remedy.contains("see the log") && !row.remedy.contains("tries again"), "{row:?}");
            assert!(vendor == Vendor::Microsoft || !sentence.contains("Microsoft"), "{sentence}");
        }
    }
}

#[test]
fn a_known_number_decides_whatever_the_error_is_called() {
    let kind = |error, codes: &[u32]| refused(error, None, codes, "").kind();
    assert_eq!(kind("invalid_grant", &[90033]), ErrorKind::Transient, "a transient failure called invalid_grant");
    assert_eq!(kind("invalid_grant", &[700_082]), ErrorKind::SignInRequired);
    assert_eq!(kind("invalid_grant", &[7_000_215]), ErrorKind::Misconfigured);
    assert_eq!(kind("invalid_client", &[1, 7_000_222]), ErrorKind::Misconfigured, "the second number is the known one");
    assert_eq!(
        refused("invalid_grant", None, &[], "AADSTS50173: revoked\r\nTrace ID: x").problem().unwrap().code,
        Some(50173)
    );
}

#[test]
fn without_a_known_number_the_name_decides() {
    let kind = |error, suberror| refused(error, suberror, &[], "AADSTS999999: new").kind();
    assert_eq!(kind("invalid_grant", None), ErrorKind::SignInRequired);
    assert_eq!(kind("invalid_grant", Some("token_expired")), ErrorKind::SignInRequired);
    assert_eq!(kind("invalid_grant", Some("client_mismatch")), ErrorKind::Misconfigured);
    assert_eq!(kind("interaction_required", Some("basic_action")), ErrorKind::SignInRequired);
    assert_eq!(kind("invalid_client", None), ErrorKind::Misconfigured);
    assert_eq!(kind("temporarily_unavailable", None), ErrorKind::Transient);
    assert_eq!(kind("something_new", None), ErrorKind::Transient, "nothing is thrown away for an unknown reason");
    let app_only = Names { grant: Grant::ClientCredentials, ..DELEGATED };
    let refusal = Refusal { error: "invalid_grant", ..Refusal::default() };
    assert_eq!(classify(&refusal, &app_only).kind(), ErrorKind::Misconfigured);
}

#[test]
fn the_detail_is_what_microsofts_support_asks_for() {
    let refusal = Refusal {
        error: "invalid_grant",
        suberror: Some("bad_token"),
        codes: &[70008],
        description: "AADSTS70008: The grant has expired. Trace ID: 5f-1 Correlation ID: 7 Timestamp: now",
        trace_id: Some("5f-1"),
    };
    let error = classify(&refusal, &DELEGATED);
    let problem = error.problem().unwrap();
    assert_eq!(problem.detail, "invalid_grant: AADSTS70008: The grant has expired. suberror=bad_token trace_id=5f-1");
    assert!(problem.remedy.contains("oxpost sign-in scan@contoso.com"));
    let echoed = Refusal { error: "invalid_grant", description: "bad token rt-12345", ..Refusal::default() };
    let error = without(classify(&echoed, &DELEGATED), &[&Secret::from("rt-12345")]);
    assert!(!format!("{error:?}").contains("rt-12345"));
}
