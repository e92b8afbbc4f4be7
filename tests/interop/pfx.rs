//! PFX files as OpenSSL writes them, and as Windows does (the same file format with the older ciphers).

use std::path::Path;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings, find, run};
use oxpost_tests::office365::{Application, Mailbox, Tenant};
use tokio::process::Command;

const PASSPHRASE: &str = "Zwölf Boxkämpfer";

/// With which ciphers, and what for.
const KINDS: [(&str, &[&str]); 3] = [
    ("OpenSSL 3", &[]),
    ("Windows, TripleDES-SHA1", &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]),
    ("Windows, AES256-SHA256", &["-keypbe", "AES-256-CBC", "-certpbe", "AES-256-CBC", "-macalg", "sha256"]),
];

async fn openssl(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(find("openssl").unwrap());
    command.args(arguments).current_dir(folder);
    run(command, b"").await.unwrap().output().unwrap();
}

#[tokio::test]
async fn a_pfx_file_of_any_age_proves_an_application() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    let subject = ["-subj", "/CN=oxpost", "-days", "30", "-keyout", "app.key", "-out", "app.crt"];
    openssl(folder, &[&["req", "-x509", "-newkey", "rsa:2048", "-nodes"], subject.as_slice()].concat()).await;
    openssl(folder, &["x509", "-in", "app.crt", "-outform", "DER", "-out", "app.der"]).await;
    std::fs::write(folder.join("passphrase"), PASSPHRASE).unwrap();
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .application(
            Application::confidential(CLIENT_ID, "unused").certificate(&std::fs::read(folder.join("app.der")).unwrap()),
        )
        .start()
        .await
        .unwrap();
    for (kind, ciphers) in KINDS {
        let export = ["pkcs12", "-export", "-in", "app.crt", "-inkey", "app.key", "-out", "app.pfx"];
        openssl(folder, &[&export, ["-passout", "file:passphrase"].as_slice(), ciphers].concat()).await;
        let more = format!(
            "[[application]]\nname = \"pfx\"\nprovider = \"test\"\ntenant = {:?}\nclient-id = {CLIENT_ID:?}\n\
             pfx-file = {:?}\npfx-passphrase-file = {:?}\n",
            tenant.id(),
            keep_private(&folder.join("app.pfx")),
            keep_private(&folder.join("passphrase")),
        );
        let oxpost = Oxpost::new(&Settings { more, ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
        let options = ["--application", "pfx", "--grant", "client-credentials"];
        oxpost.add_account(ALICE, &options).await.unwrap();
        let signed_in = oxpost.call(&["sign-in", ALICE]).await.unwrap();
        signed_in.output().unwrap_or_else(|problem| panic!("{kind}: {problem}"));
        println!("a PFX file of {kind:<24} proves an application");
    }
}

fn keep_private(path: &Path) -> &Path {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}
