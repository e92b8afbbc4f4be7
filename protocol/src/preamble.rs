//! Recognizes what some peers send before their first command and what is no mail protocol: the PROXY header of a load
//! balancer, a TLS hello on a port without implicit TLS, an HTTP request. The log names it; "Unknown command" would not
//! lead an administrator to the cause.

use crate::line::without_end;

/// Bytes before the first command that belong to no mail protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// A PROXY header (HAProxy's, versions 1 and 2), which a load balancer or a container's router puts in front.
    ProxyHeader,
    /// The first bytes of TLS (RFC 8446, 4.1.2), from a client set to implicit TLS.
    TlsHello,
    /// A request of HTTP.
    HttpRequest,
}

impl Preamble {
    /// What it is and what to do about it, for the log.
    pub fn advice(self) -> &'static str {
        match self {
            Self::ProxyHeader => {
                "a PROXY header came ahead of the first command; switch it off in the load balancer, nothing here reads it"
            }
            Self::TlsHello => {
                "a TLS hello came where TLS does not begin immediately; set the client to STARTTLS or to no TLS, or this \
                 listener to tls = \"implicit\""
            }
            Self::HttpRequest => "an HTTP request came; this is no web server",
        }
    }
}

/// How a dialogue continues after a preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreambleAction {
    /// Commands follow. A preamble gets no reply.
    Skip(Preamble),
    /// No commands can follow.
    Close(Preamble),
}

/// The lines that make the signature of version 2 of the PROXY header, if they are read as lines. What follows is binary.
const PROXY_2: [&[u8]; 4] = [b"\r\n", b"\r\n", b"\0\r\n", b"QUIT\n"];

/// Examines the first lines of a connection. The result does not depend on how the bytes are divided: it never waits for
/// more of them.
#[derive(Debug, Default)]
pub(crate) struct PreambleDetector {
    /// How many lines there were.
    lines: usize,
    /// A line was no part of that signature.
    not_proxy_2: bool,
}

impl PreambleDetector {
    /// Whether the connection begins with TLS. These three bytes hold no line end, so that no line can come before them.
    pub(crate) fn is_tls(&self, unread: &[u8]) -> bool {
        self.lines == 0 && matches!(unread, [0x16, 3, 0..=4, ..])
    }

    /// Looks at the next line, its end still on.
    pub(crate) fn detect(&mut self, line: &[u8]) -> Option<PreambleAction> {
        let number = self.lines;
        self.lines = number.saturating_add(1);
        self.not_proxy_2 |= PROXY_2.get(number) != Some(&line);
        if !self.not_proxy_2 && self.lines == PROXY_2.len() {
            return Some(PreambleAction::Close(Preamble::ProxyHeader));
        }
        if number > 0 {
            return None;
        }
        let words: Vec<&[u8]> = without_end(line).splitn(4, |byte| *byte == b' ').collect();
        match words.as_slice() {
            [b"PROXY", b"TCP4" | b"TCP6" | b"UNKNOWN", ..] => Some(PreambleAction::Skip(Preamble::ProxyHeader)),
            [_, _, version] if version.starts_with(b"HTTP/") => Some(PreambleAction::Close(Preamble::HttpRequest)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_it_is_for_and_nothing_else() {
        for (line, preamble) in [
            (&b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 587\r\n"[..], Some(PreambleAction::Skip(Preamble::ProxyHeader))),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 587\r\n", Some(PreambleAction::Skip(Preamble::ProxyHeader))),
            (b"PROXY UNKNOWN\r\n", Some(PreambleAction::Skip(Preamble::ProxyHeader))),
            (b"PROXY LOGIN alice secret\r\n", None),
            (b"GET / HTTP/1.1\r\n", Some(PreambleAction::Close(Preamble::HttpRequest))),
            (b"CONNECT x:25 HTTP/1.0\n", Some(PreambleAction::Close(Preamble::HttpRequest))),
            (b"a LOGIN HTTP/1.1 HTTP/1.1\r\n", None),
            (b"EHLO HTTP/1.1\r\n", None),
            (b"QUIT\n", None),
            (b"\r\n", None),
        ] {
            assert_eq!(PreambleDetector::default().detect(line), preamble, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn only_the_beginning_counts() {
        let mut beginning = PreambleDetector::default();
        assert!(beginning.is_tls(b"\x16\x03\x01\x02") && !beginning.is_tls(b"\x16\x03") && !beginning.is_tls(b"EHLO"));
        assert_eq!(beginning.detect(b"NOOP\r\n"), None);
        assert_eq!(beginning.detect(b"GET / HTTP/1.1\r\n"), None);
        assert!(!beginning.is_tls(b"\x16\x03\x01\x02"));
        for line in PROXY_2 {
            assert_eq!(beginning.detect(line), None);
        }
    }
}
