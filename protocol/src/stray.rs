//! What some peers say ahead of their first command, and what is none: a load balancer's header, a TLS hello on a port
//! without TLS, a browser. It is recognised so that the log can name it: "Unknown command" has cost many an afternoon.

use crate::line::without_end;

/// Something that is no command of a mail client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// A PROXY header (HAProxy's, versions 1 and 2), which a load balancer or a container's router puts in front.
    ProxyHeader,
    /// The first bytes of TLS (RFC 8446, 4.1.2), from a client set to implicit TLS.
    TlsHello,
    /// A request of HTTP.
    HttpRequest,
}

impl Stray {
    /// What it is and what to do about it, for the log.
    pub fn advice(self) -> &'static str {
        match self {
            Self::ProxyHeader => {
                "a PROXY header came ahead of the first command; switch it off in the load balancer, nothing here reads it"
            }
            Self::TlsHello => {
                "a TLS hello came where TLS does not begin at once; set the client to STARTTLS or to no TLS, or this \
                 listener to tls = \"implicit\""
            }
            Self::HttpRequest => "an HTTP request came; this is no web server",
        }
    }
}

/// What is done about what came ahead of the first command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Commands follow it, and it has no answer.
    PassOver(Stray),
    /// Whatever follows it is none.
    End(Stray),
}

/// The lines that make the signature of version 2 of the PROXY header, if they are read as lines. What follows is binary.
const PROXY_2: [&[u8]; 4] = [b"\r\n", b"\r\n", b"\0\r\n", b"QUIT\n"];

/// Looks at the beginning of a connection, and then at nothing any more. What it finds does not depend on the pieces that
/// the bytes arrive in: it waits for none.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// How many lines there were.
    lines: usize,
    /// A line was no part of that signature.
    not_proxy_2: bool,
}

impl Beginning {
    /// Whether the connection begins with TLS. These three bytes hold no line end, so that no line can come before them.
    pub(crate) fn is_tls(&self, unread: &[u8]) -> bool {
        self.lines == 0 && matches!(unread, [0x16, 3, 0..=4, ..])
    }

    /// Looks at the next line, its end still on.
    pub(crate) fn look(&mut self, line: &[u8]) -> Option<Ahead> {
        let number = self.lines;
        self.lines = number.saturating_add(1);
        self.not_proxy_2 |= PROXY_2.get(number) != Some(&line);
        if !self.not_proxy_2 && self.lines == PROXY_2.len() {
            return Some(Ahead::End(Stray::ProxyHeader));
        }
        if number > 0 {
            return None;
        }
        let words: Vec<&[u8]> = without_end(line).splitn(4, |byte| *byte == b' ').collect();
        match words.as_slice() {
            [b"PROXY", b"TCP4" | b"TCP6" | b"UNKNOWN", ..] => Some(Ahead::PassOver(Stray::ProxyHeader)),
            [_, _, version] if version.starts_with(b"HTTP/") => Some(Ahead::End(Stray::HttpRequest)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_it_is_for_and_nothing_else() {
        for (line, stray) in [
            (&b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 587\r\n"[..], Some(Ahead::PassOver(Stray::ProxyHeader))),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 587\r\n", Some(Ahead::PassOver(Stray::ProxyHeader))),
            (b"PROXY UNKNOWN\r\n", Some(Ahead::PassOver(Stray::ProxyHeader))),
            (b"PROXY LOGIN alice secret\r\n", None),
            (b"GET / HTTP/1.1\r\n", Some(Ahead::End(Stray::HttpRequest))),
            (b"CONNECT x:25 HTTP/1.0\n", Some(Ahead::End(Stray::HttpRequest))),
            (b"a LOGIN HTTP/1.1 HTTP/1.1\r\n", None),
            (b"EHLO HTTP/1.1\r\n", None),
            (b"QUIT\n", None),
            (b"\r\n", None),
        ] {
            assert_eq!(Beginning::default().look(line), stray, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn only_the_beginning_counts() {
        let mut beginning = Beginning::default();
        assert!(beginning.is_tls(b"\x16\x03\x01\x02") && !beginning.is_tls(b"\x16\x03") && !beginning.is_tls(b"EHLO"));
        assert_eq!(beginning.look(b"NOOP\r\n"), None);
        assert_eq!(beginning.look(b"GET / HTTP/1.1\r\n"), None);
        assert!(!beginning.is_tls(b"\x16\x03\x01\x02"));
        for line in PROXY_2 {
            assert_eq!(beginning.look(line), None);
        }
    }
}
