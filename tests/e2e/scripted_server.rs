//! A mail server that says what the test says, behind the login of any account; and the proxy in front of it.

use std::sync::Arc;

use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, PASSWORD, Settings};
use oxpost_tests::office365::Protocol;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::bad_servers::{is_ok, log_in};
use crate::client::Client;
use crate::story::tenant;

/// The server, and a proxy that takes it for Exchange.
pub(crate) struct Scripted {
    pub(crate) in_process: InProcess,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// A client that has logged in, and the server's end of its session.
pub(crate) type Ends = (Client, Client<TlsStream<TcpStream>>);

impl Scripted {
    pub(crate) async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()];
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = ("localhost".to_owned(), listener.local_addr().unwrap().port());
        let tenant = tenant().await;
        let settings = Settings::of(&tenant, CLIENT_ID);
        let trusted = format!("{}{}", settings.trusted, made.cert.pem());
        let settings = Settings { imap: there.clone(), pop3: there, trusted, ..settings };
        let in_process = InProcess::start_with(tenant, &settings).await.unwrap();
        in_process.add_account(ALICE).await.unwrap();
        in_process.sign_in(ALICE, ALICE).await.unwrap();
        Self { in_process, listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// A session behind its login.
    pub(crate) async fn session(&self, protocol: Protocol) -> Ends {
        let mut client = Client::connect(self.in_process.address(protocol)).await;
        client.line().await.unwrap();
        let (answer, server) = tokio::join!(log_in(&mut client, protocol, PASSWORD), self.let_in(protocol));
        assert!(is_ok(&answer), "{answer}");
        (client, server)
    }

    async fn let_in(&self, protocol: Protocol) -> Client<TlsStream<TcpStream>> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let mut server = Client::over(self.acceptor.accept(tcp).await.unwrap());
        if protocol == Protocol::Pop3 {
            for (said, answer) in [(None, "+OK ready"), (Some("AUTH XOAUTH2"), "+ "), (Some(""), "+OK in")] {
                if let Some(beginning) = said {
                    assert!(server.line().await.unwrap().starts_with(beginning));
                }
                server.say(answer).await;
            }
            return server;
        }
        server.say("* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR NAMESPACE] ready").await;
        loop {
            let line = server.line().await.unwrap();
            let (tag, verb) = line.split_once(' ').unwrap();
            if verb == "CAPABILITY" {
                server.say("* CAPABILITY IMAP4rev1 IDLE LITERAL+ BINARY COMPRESS=DEFLATE NAMESPACE").await;
            }
            server.say(&format!("{tag} OK done")).await;
            if verb == "NAMESPACE" {
                return server;
            }
        }
    }
}
