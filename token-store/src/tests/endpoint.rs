//! A token endpoint that answers as configured.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use url::Url;

/// How one request is answered.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// With a status, further header lines, and a body.
    Http(u16, &'static str, String),
    /// With a body of this many bytes.
    Huge(usize),
    /// Not at all, with an open connection.
    Silent,
    /// The connection is closed without an answer.
    Close,
}

impl Reply {
    pub(super) fn json(status: u16, body: impl Into<String>) -> Self {
        Self::Http(status, "Content-Type: application/json\r\n", body.into())
    }

    /// Tokens that live an hour; `expires_in` is a string, as some authorities write it.
    pub(super) fn tokens(access: &str, refresh: Option<&str>) -> Self {
        let refresh = refresh.map(|token| format!(r#","refresh_token":"{token}""#)).unwrap_or_default();
        Self::json(200, format!(r#"{{"token_type":"Bearer","expires_in":"3600","access_token":"{access}"{refresh}}}"#))
    }

    pub(super) fn error(error: &str, code: u32) -> Self {
        Self::json(
            400,
            format!(r#"{{"error":"{error}","error_description":"AADSTS{code}: said so","error_codes":[{code}]}}"#),
        )
    }
}

pub(super) struct Endpoint {
    base: Url,
    shared: Arc<Shared>,
}

struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    always: Mutex<Reply>,
    /// Client secrets that are refused, and how.
    refused_secrets: Mutex<HashMap<String, Reply>>,
    forms: Mutex<Vec<HashMap<String, String>>>,
    arrived: watch::Sender<usize>,
    /// Each answer takes one permit; a test that holds answers back takes them all.
    answers: Semaphore,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    written: AtomicUsize,
}

const PLENTY: usize = 100_000;

impl Endpoint {
    pub(super) async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn start_on(listener: TcpListener) -> Self {
        let base = Url::parse(&format!("http://{}/tenant/oauth2/v2.0/", listener.local_addr().unwrap())).unwrap();
        let shared = Arc::new(Shared {
            replies: Mutex::default(),
            always: Mutex::new(Reply::json(500, "{}")),
            refused_secrets: Mutex::default(),
            forms: Mutex::default(),
            arrived: watch::channel(0).0,
            answers: Semaphore::new(PLENTY),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = accepting.clone();
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { base, shared }
    }

    pub(super) fn url(&self, page: &str) -> Url {
        self.base.join(page).unwrap()
    }

    /// The next request is answered like this.
    pub(super) fn then(&self, reply: Reply) {
        self.shared.replies.lock().unwrap().push_back(reply);
    }

    /// Every request that nothing else was said about is answered like this.
    pub(super) fn always(&self, reply: Reply) {
        *self.shared.always.lock().unwrap() = reply;
    }

    /// Every request with this client secret, or signed with the certificate that has this name in an assertion, is refused with this
    /// number, unless something else was said about it.
    pub(super) fn refuse_secret(&self, secret: &str, code: u32) {
        let reply = Reply::error("invalid_client", code);
        self.shared.refused_secrets.lock().unwrap().insert(secret.into(), reply);
    }

    /// It is accepted again.
    pub(super) fn accept_secret(&self, secret: &str) {
        self.shared.refused_secrets.lock().unwrap().remove(secret);
    }

    /// What the request of this number was proved with: the client secret, or the name of the certificate.
    pub(super) fn proof(&self, request: usize) -> Option<String> {
        proof(&self.shared.forms.lock().unwrap()[request])
    }

    pub(super) async fn hold(&self) {
        self.shared.answers.acquire_many(PLENTY as u32).await.unwrap().forget();
    }

    pub(super) fn release(&self) {
        self.shared.answers.add_permits(PLENTY);
    }

    /// How many requests have come.
    pub(super) fn requests(&self) -> usize {
        *self.shared.arrived.borrow()
    }

    /// Waits until so many requests have come.
    pub(super) async fn arrived(&self, count: usize) {
        super::until(&format!("{count} requests have come"), async || self.requests() >= count).await;
    }

    /// A form member of the request of this number.
    pub(super) fn sent(&self, request: usize, member: &str) -> Option<String> {
        self.shared.forms.lock().unwrap()[request].get(member).cloned()
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }

    /// Bytes of bodies that were taken off our hands.
    pub(super) fn written(&self) -> usize {
        self.shared.written.load(Ordering::SeqCst)
    }
}

fn proof(form: &HashMap<String, String>) -> Option<String> {
    let name = || {
        let header = URL_SAFE_NO_PAD.decode(form.get("client_assertion")?.split('.').next()?).ok()?;
        let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
        header.get("x5t#S256")?.as_str().map(str::to_owned)
    };
    form.get("client_secret").cloned().or_else(name)
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(form) = read_form(&mut stream).await else { return };
        let secret = proof(&form).unwrap_or_default();
        self.forms.lock().unwrap().push(form);
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        let reply = self.replies.lock().unwrap().pop_front();
        let reply = reply.or_else(|| self.refused_secrets.lock().unwrap().get(&secret).cloned());
        let reply = reply.unwrap_or_else(|| self.always.lock().unwrap().clone());
        self.arrived.send_modify(|arrived| *arrived += 1);
        let permit = self.answers.acquire().await.unwrap();
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        match reply {
            Reply::Http(status, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
            Reply::Huge(length) => self.write_much(&mut stream, length).await,
            Reply::Silent => {
                drop(permit);
                let _ = stream.read(&mut [0; 1]).await;
            }
            Reply::Close => {}
        }
    }

    async fn write_much(&self, stream: &mut TcpStream, length: usize) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let piece = vec![b'x'; 16 * 1024];
        while self.written() < length && stream.write_all(&piece).await.is_ok() {
            self.written.fetch_add(piece.len(), Ordering::SeqCst);
        }
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

async fn read_form(stream: &mut TcpStream) -> Option<HashMap<String, String>> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return Some(url::form_urlencoded::parse(body.as_bytes()).into_owned().collect());
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}
