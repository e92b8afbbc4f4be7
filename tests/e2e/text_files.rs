//! Pipes and files in every shape that shells and editors give them, as the program itself reads them.

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use oxpost_tests::office365::Application;
use oxpost_token_store::text_file::shapes::{self, Reading};

use crate::story::tenant;

#[tokio::test]
async fn piped_secret_of_every_shape_is_stored_or_named() {
    let secret = "Aa1~app-only-client-secret-value-0123456";
    let tenant = crate::client_assertions::tenant(Application::confidential(CLIENT_ID, secret)).await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.add_account(ALICE, &["--grant", "client-credentials"]).await.unwrap();
    for shape in shapes::of(secret) {
        let stored = oxpost.call_with(&["application", "secret", "default"], &shape.bytes).await.unwrap();
        match shape.one_line {
            Reading::Named(words) => {
                let refused = stored.refusal().unwrap();
                assert!(refused.contains("standard input") && refused.contains(words), "{}: {refused}", shape.name);
                assert!(!refused.contains("Aa1~"), "{}: {refused}", shape.name);
            }
            Reading::Meant | Reading::Any => {
                stored.output().unwrap();
                // Microsoft accepts the very secret only.
                oxpost.call(&["sign-in", ALICE]).await.unwrap().output().unwrap();
                oxpost.call_with(&["application", "secret", "default"], "another").await.unwrap().output().unwrap();
            }
        }
    }
}

#[tokio::test]
async fn imported_file_of_every_shape_is_read_or_named() {
    let oxpost = Oxpost::new(&Settings::of(&tenant().await, CLIENT_ID)).unwrap();
    let file = oxpost.folder().join("emailproxy.config");
    let text = format!(
        "[IMAP-1993]\nserver_address = outlook.office365.com\nserver_port = 993\n\n[{ALICE}]\npermission_url = \
         https://login.microsoftonline.com/common/oauth2/v2.0/authorize\ntoken_url = \
         https://login.microsoftonline.com/common/oauth2/v2.0/token\noauth2_scope = \
         https://outlook.office365.com/IMAP.AccessAsUser.All offline_access\nredirect_uri = http://localhost\nclient_id = \
         {CLIENT_ID}\nclient_secret = Aa1~hidden\n"
    );
    for shape in shapes::of(&text) {
        std::fs::write(&file, &shape.bytes).unwrap();
        let ran = oxpost.call(&["import", "emailproxy.config", "--dry-run"]).await.unwrap();
        match shape.several_lines {
            Reading::Meant => {
                let said = String::from_utf8_lossy(&ran.output().unwrap()).into_owned();
                assert!(said.contains(ALICE) && said.contains("Dry run"), "{}: {said}", shape.name);
            }
            // ISO 8859-1 is the encoding of Java's properties, and read.
            Reading::Named("is not UTF-8 in line") => drop(ran.output().unwrap()),
            Reading::Named(words) => {
                let refused = ran.refusal().unwrap();
                assert!(refused.contains("emailproxy.config") && refused.contains(words), "{}: {refused}", shape.name);
                assert!(!refused.contains("Aa1~"), "{refused}");
            }
            Reading::Any => {}
        }
    }
}
