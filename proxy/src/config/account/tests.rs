//! What a section may contain, and the error for each mistake.

use oxpost_protocol::Secret;

use super::*;
use crate::config::Config;

/// Of the password `correct-horse-battery`.
fn hash() -> String {
    PasswordHash::of(&Secret::from("correct-horse-battery")).unwrap().text().to_owned()
}

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    for (name, text, mode) in [
        ("erp.password", "open sesame\r\n", 0o600),
        ("open.password", "open sesame\n", 0o644),
        ("two.password", "one\ntwo\n", 0o600),
        ("secret-id", "11111111-2222-3333-4444-55555555ABCD\r\n", 0o600),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let _ = mode;
    }
    std::fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "proxy.toml"))
}

/// Four lines, so that an account begins on the fifth.
const APPLICATION: &str = "[[application]]\nname = \"default\"\ntenant = \"contoso.com\"\nclient-id = \"c\"\n";

fn account(more: &str) -> String {
    format!("{APPLICATION}[[account]]\nmailbox = \"Scan@Contoso.com\"\n{more}\n")
}

#[test]
fn mailbox_alone_declares_an_account() {
    let config = load(&account("")).unwrap();
    let [account] = config.accounts.as_slice() else { panic!("{:?}", config.accounts) };
    assert_eq!(
        (account.declared.mailbox.as_str(), account.declared.login.as_str()),
        ("scan@contoso.com", "scan@contoso.com")
    );
    assert_eq!(account.declared.token_source, TokenSource::Own { application: "default".into(), grant: Grant::SignIn });
    assert_eq!((account.declared.passwords.len(), account.line), (0, Some(5)));
}

#[test]
fn passwords_are_read_from_hashes_and_files() {
    let hash = hash();
    let text = format!(
        "password-hash = '{hash}'\npasswords = [{{ name = \"erp\", file = \"erp.password\" }}, {{ name = \"hall\", hash = '{hash}' }}]"
    );
    let config = load(&account(&text)).unwrap();
    let passwords = &config.accounts[0].declared.passwords;
    let names: Vec<&str> = passwords.iter().map(|password| password.name.as_str()).collect();
    assert_eq!(names, ["default", "erp", "hall"]);
    let PasswordText::Plain(plain) = &passwords[1].text else { panic!("{passwords:?}") };
    assert_eq!(plain.reveal(), b"open sesame");
    let PasswordText::Hash(kept) = &passwords[0].text else { panic!("{passwords:?}") };
    assert_eq!(kept.text(), hash);
    assert!(!format!("{config:?}").contains(&hash), "a hash can be attacked at leisure");
}

#[test]
fn invalid_account_is_refused_with_line_and_remedy() {
    let second = |more: &str| format!("login = \"hall\"\n[[account]]\n{more}\n");
    let hash = hash();
    for (text, line, words) in [
        (account("application = \"other\""), 7, "names are: default"),
        (account("grant = \"magic\""), 7, "unknown value"),
        (
            account("grant = \"client-credentials\"").replace("contoso.com\"\nclient", "common\"\nclient"),
            7,
            "no tenant",
        ),
        (account("login = \" \""), 7, "1 to 320"),
        (account("delegate = \"colleague\""), 7, "not a mail address"),
        (account("delegate = \"scan@contoso.com\""), 7, "its own delegate"),
        (account("delegate = \"a@contoso.com\"\ngrant = \"sign-in\""), 8, "uses the `grant` of its delegate"),
        (account("password-hash = \"hunter2hunter2\""), 7, "oxpost account password hash"),
        (account("password-hash = 12345678"), 7, "oxpost account password hash"),
        (account("passwords = \"hunter2\""), 7, "wrong type"),
        (account("passwords = [\n  \"hunter2\",\n]"), 8, "wrong type"),
        (account("passwords = [\n  12345678,\n]"), 8, "wrong type"),
        (account("passwords = [\n  { name = \"hall\", hash = \"\"\"\nhunter2\"\"\" },\n]"), 7, "no hash that"),
        (account("password = \"hunter2\""), 7, "did you mean `passwords`"),
        (account("password-file = \"none.password\""), 7, "cannot be read"),
        #[cfg(unix)]
        (account("password-file = \"open.password\""), 7, "chmod"),
        (account("password-file = \"two.password\""), 7, "as its only line"),
        (account(&format!("password-file = \"erp.password\"\npassword-hash = '{hash}'")), 8, "either `hash` or `file`"),
        (account("passwords = [{ name = \"erp\" }]"), 7, "either `hash` or `file`"),
        (
            account(&format!("password-hash = '{hash}'\npasswords = [{{ name = \"default\", hash = '{hash}' }}]")),
            8,
            "two passwords",
        ),
        (account(&format!("grant = \"password\"\npassword-hash = '{hash}'")), 7, "Microsoft verifies"),
        (account(&second("mailbox = \"scan@contoso.com\"")), 9, "two accounts"),
        (account(&second("mailbox = \"b@contoso.com\"\nlogin = \"Hall\"")), 10, "belongs to scan@contoso.com"),
        (
            account(&second(
                "mailbox = \"b@contoso.com\"\ndelegate = \"c@contoso.com\"\n[[account]]\nmailbox = \"c@contoso.com\"\ndelegate = \"scan@contoso.com\"",
            )),
            10,
            "delegate = \"scan@contoso.com\"",
        ),
        (account("").replace("Scan@", "*@"), 6, "needs the grant client-credentials"),
        (account("grant = \"password\"").replace("Scan@", "*@"), 7, "(grant password)"),
        (account("grant = \"client-credentials\"\nlogin = \"x\"").replace("Scan@", "*@"), 8, "remove `login`"),
        (account("delegate = \"a@contoso.com\"").replace("Scan@", "*@"), 7, "cannot have a delegate"),
        ("[[account]]\nmailbox = \"scan\"\napplication = \"x\"".to_owned(), 2, "not a mail address"),
        ("[[account]]\nmailbox = \"scan@x.com\"".to_owned(), 2, "has no [[application]]"),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(&format!("proxy.toml, line {line}:")) && error.contains(words), "{text}\n→ {error}");
        assert!(!error.contains("hunter2") && !error.contains("12345678"), "{error}");
    }
}

#[test]
fn client_secret_is_read_from_environment() {
    let with = |variable: &str| load(&format!("{APPLICATION}client-secret-environment = \"{variable}\"\n"));
    // Every process has this one.
    let secret = with("PATH").unwrap().applications.get("default").unwrap().client_secret.clone().unwrap();
    assert_eq!(secret.reveal_str(), std::env::var("PATH").ok().as_deref().map(str::trim));
    for variable in ["", "OXPOST_HAS_NO_SUCH", "A=B"] {
        let error = with(variable).unwrap_err();
        assert!(error.contains("line 5") && error.contains("where Oxpost is started"), "{error}");
    }
    let error =
        load(&format!("{APPLICATION}client-secret-environment = \"PATH\"\nclient-secret-file = \"x\"\n")).unwrap_err();
    assert!(error.contains("in one way"), "{error}");
}

/// Older versions of the Azure CLI created secrets that are GUIDs, so only `check` and the log warn.
#[test]
fn client_secret_that_may_be_a_secret_id_gets_a_warning() {
    let config = load(&format!("{APPLICATION}client-secret-file = \"secret-id\"\n")).unwrap();
    let warnings = crate::admin::credential_expiry::secret_id_warnings(&config.applications);
    assert!(
        matches!(&warnings[..], [one] if one.contains("column Value") && !one.contains("11111111")),
        "{warnings:?}"
    );
    // Only Microsoft has Secret IDs.
    let google =
        "[[application]]\nname = \"g\"\nprovider = \"gmail\"\nclient-id = \"c\"\nclient-secret-file = \"secret-id\"\n";
    let config = load(google).unwrap();
    assert!(crate::admin::credential_expiry::secret_id_warnings(&config.applications).is_empty());
}
