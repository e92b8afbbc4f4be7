//! What a browser sends to the sign-in that waits for it, and the pages it is shown. A request is a line and headers that
//! are not used; everything about it is bounded.

use std::io;
use std::time::Duration;

use oxpost_token_store::REDIRECT_LIMIT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest request read: the redirect, and the cookies that other programs on localhost have left.
const REQUEST_LIMIT: usize = REDIRECT_LIMIT + 32 * 1024;

/// A browser sends its request immediately. Connections that it opens ahead of time stay silent, and are closed then.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// A page is a kilobyte; a browser that does not take it is gone.
const PAGE_TIME: Duration = Duration::from_secs(5);

/// A browser that has come back, and waits for its page.
pub(super) struct Browser {
    stream: TcpStream,
    /// What stood behind the `?`.
    pub(super) query: String,
}

impl Browser {
    /// Reads one request. None if it is not for `path`; it was answered then.
    pub(super) async fn read(mut stream: TcpStream, path: &str) -> Option<Self> {
        let mut request = Vec::new();
        let whole = timeout(REQUEST_TIME, read_head(&mut stream, &mut request)).await.ok()?.ok()?;
        if !whole {
            let _ = send(&mut stream, "431 Request Header Fields Too Large", "Too long", "Nothing was read.").await;
            return None;
        }
        let line = request.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (asked, query) = target.split_once('?').unwrap_or((target, ""));
        if method != "GET" {
            let _ = send(&mut stream, "405 Method Not Allowed", "Not here", "There is nothing to send here.").await;
            return None;
        }
        if asked != path {
            let _ = send(&mut stream, "404 Not Found", "Not here", "There is nothing at this address.").await;
            return None;
        }
        Some(Self { query: query.to_owned(), stream })
    }

    /// The page after a sign-in that is well, or is not.
    pub(super) async fn show(self, status: &str, title: &str, text: &str) {
        let mut stream = self.stream;
        let _ = timeout(PAGE_TIME, send(&mut stream, status, title, text)).await;
    }
}

/// Reads to the empty line; `false` if the request is too long.
async fn read_head(stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<bool> {
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() >= REQUEST_LIMIT {
            return Ok(false);
        }
        if stream.read_buf(request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(true)
}

async fn send(stream: &mut TcpStream, status: &str, title: &str, text: &str) -> io::Result<()> {
    let (title, text) = (escape(title), escape(text));
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - Oxpost</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:18px/1.5 system-ui,sans-serif;max-width:32em;margin:5em auto;padding:0 1em}}</style></head>\n\
         <body><h1>{title}</h1>\n<p>{text}</p>\n</body></html>\n"
    );
    // The address holds a code: it must not be kept, nor sent to another page.
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
