//! What each mail server offers at a login, so that the next login need not ask: a mail server is 20 to 80 ms away, and what
//! a login costs is what it waits.
//!
//! Kept in memory only. After a restart, and on each node, the first login at a server asks once more, which is one round trip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxpost_protocol::{KnownOffer, UpstreamFailure};
use tokio::time::Instant;

use crate::config::{Protocol, Server, Servers};

/// How long a server is not asked again. One login a day asks whatever is known, so that a server that offers more than before,
/// or accepts again what it once refused, is noticed.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// So often in a row must a server close at an initial response before that is taken for a refusal: a front end may close at
/// any time.
const CLOSED_COUNTS: u32 = 3;

/// The offers of the mail servers of all applications.
#[derive(Debug, Default)]
pub struct LoginOffers(Mutex<HashMap<ServerName, State>>);

/// Host, in lower case, and port.
type ServerName = (String, u16);

/// What is known of one server.
#[derive(Debug, Default)]
struct State {
    /// IMAP: what it listed before a login, and when.
    listed: Option<(Arc<[String]>, Instant)>,
    /// SMTP: all providers of this server document AUTH with an initial response.
    documents_initial_response: Option<bool>,
    /// SMTP: when an initial response was refused.
    initial_response_refused: Option<Instant>,
    /// SMTP: in how many logins in a row the server closed at an initial response and accepted the token in two steps.
    closed_at_initial_response: u32,
}

impl LoginOffers {
    /// For the servers of all applications. No other server is ever kept.
    pub fn new<'a>(all: impl Iterator<Item = &'a Servers>) -> Self {
        let mut states: HashMap<ServerName, State> = HashMap::new();
        for servers in all {
            states.entry(name_of(&servers.imap)).or_default();
            let smtp = states.entry(name_of(&servers.smtp)).or_default();
            let others = smtp.documents_initial_response.unwrap_or(true);
            smtp.documents_initial_response = Some(others && servers.smtp_initial_response);
        }
        Self(Mutex::new(states))
    }

    /// What a login at this server need not ask.
    pub fn known(&self, protocol: Protocol, server: &Server) -> KnownOffer {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = states.get(&name_of(server)) else { return KnownOffer::default() };
        match protocol {
            Protocol::Imap => {
                let listed = state.listed.as_ref().filter(|(_, at)| at.elapsed() < KNOWN_FOR);
                KnownOffer {
                    capabilities: listed.map(|(list, _)| Arc::clone(list)).unwrap_or_default(),
                    initial_response: false,
                }
            }
            Protocol::Smtp => {
                let refused = state.initial_response_refused.is_some_and(|at| at.elapsed() < KNOWN_FOR);
                let initial_response = state.documents_initial_response == Some(true) && !refused;
                KnownOffer { initial_response, ..KnownOffer::default() }
            }
            // Exchange refuses an initial response here and closes; and nothing is asked before AUTH.
            Protocol::Pop3 => KnownOffer::default(),
        }
    }

    /// An IMAP server has listed this before a login.
    pub fn listed(&self, server: &Server, list: &Arc<[String]>) {
        self.change(server, |state| state.listed = Some((Arc::clone(list), Instant::now())));
    }

    /// A login with this knowledge succeeded; the attempt before it had more, and failed in this way, maybe because of it.
    pub fn succeeded(
        &self,
        protocol: Protocol,
        server: &Server,
        known: &KnownOffer,
        misled_by: Option<&UpstreamFailure>,
    ) {
        if misled_by.is_none() && !known.initial_response {
            return;
        }
        self.change(server, |state| match (protocol, misled_by) {
            (Protocol::Smtp, None) => state.closed_at_initial_response = 0,
            (Protocol::Smtp, Some(UpstreamFailure::ConnectionClosed)) => {
                state.closed_at_initial_response += 1;
                if state.closed_at_initial_response >= CLOSED_COUNTS {
                    state.refuse_initial_response();
                }
            }
            (Protocol::Smtp, Some(_)) => state.refuse_initial_response(),
            (Protocol::Imap, Some(_)) => state.listed = None,
            (Protocol::Imap, None) | (Protocol::Pop3, _) => {}
        });
    }

    fn change(&self, server: &Server, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&name_of(server)) {
            change(state);
        }
    }
}

impl State {
    fn refuse_initial_response(&mut self) {
        self.closed_at_initial_response = 0;
        self.initial_response_refused = Some(Instant::now());
    }
}

fn name_of(server: &Server) -> ServerName {
    (server.host.to_ascii_lowercase(), server.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SendingLimits, ServerTls};

    fn server(host: &str, port: u16) -> Server {
        Server { host: host.into(), port, tls: ServerTls::Implicit }
    }

    fn servers(smtp_initial_response: bool) -> Servers {
        Servers {
            imap: server("Mail.Example", 993),
            pop3: server("mail.example", 995),
            smtp: server("mail.example", 587),
            smtp_initial_response,
            sending: SendingLimits::default(),
            service: crate::config::MailService::Exchange,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn imap_list_is_known_for_a_day() {
        let (servers, list) = (servers(false), ["AUTH=XOAUTH2".to_owned()].into());
        let offers = LoginOffers::new([&servers].into_iter());
        let known = || offers.known(Protocol::Imap, &server("mail.example", 993)).capabilities;
        assert!(known().is_empty());
        offers.listed(&servers.imap, &list);
        assert_eq!(known(), list);
        tokio::time::advance(KNOWN_FOR - Duration::from_secs(1)).await;
        assert_eq!(known(), list);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(known().is_empty(), "it is asked again");
        offers.listed(&servers.imap, &list);
        let closed = UpstreamFailure::ConnectionClosed;
        offers.succeeded(Protocol::Imap, &servers.imap, &KnownOffer::default(), None);
        assert_eq!(known(), list);
        offers.succeeded(Protocol::Imap, &servers.imap, &KnownOffer::default(), Some(&closed));
        assert!(known().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn initial_response_is_sent_where_documented_unless_refused() {
        for documented in [false, true] {
            let servers = servers(documented);
            let offers = LoginOffers::new([&servers].into_iter());
            let known = || offers.known(Protocol::Smtp, &servers.smtp).initial_response;
            assert_eq!(known(), documented);
            let too_long = UpstreamFailure::NotOffered("500 5.5.2 Line too long".into());
            offers.succeeded(Protocol::Smtp, &servers.smtp, &KnownOffer::default(), Some(&too_long));
            assert!(!known());
            tokio::time::advance(KNOWN_FOR).await;
            assert_eq!(known(), documented, "it is tried again");
        }
    }

    /// One application says that it is not so, of a server that others use as well.
    #[test]
    fn initial_response_needs_every_provider_of_the_server() {
        let (yes, no) = (servers(true), servers(false));
        for all in [[&yes, &no], [&no, &yes]] {
            let offers = LoginOffers::new(all.into_iter());
            assert!(!offers.known(Protocol::Smtp, &yes.smtp).initial_response);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn closes_in_a_row_count_as_a_refusal_and_others_do_not() {
        let servers = servers(true);
        let offers = LoginOffers::new([&servers].into_iter());
        let known = || offers.known(Protocol::Smtp, &servers.smtp);
        let with = known();
        let closed = |times| {
            for _ in 0..times {
                let misled_by = Some(&UpstreamFailure::ConnectionClosed);
                offers.succeeded(Protocol::Smtp, &servers.smtp, &KnownOffer::default(), misled_by);
            }
        };
        closed(2);
        offers.succeeded(Protocol::Smtp, &servers.smtp, &with, None);
        closed(2);
        assert!(known().initial_response, "one was accepted in between");
        closed(1);
        assert!(!known().initial_response);
        tokio::time::advance(KNOWN_FOR).await;
        closed(2);
        assert!(known().initial_response, "the count starts again");
    }

    #[tokio::test]
    async fn other_servers_and_protocols_are_apart() {
        let servers = servers(true);
        let offers = LoginOffers::new([&servers].into_iter());
        let list = ["AUTH=XOAUTH2".to_owned()].into();
        offers.listed(&server("elsewhere.example", 993), &list);
        offers.listed(&servers.imap, &list);
        assert_eq!(offers.known(Protocol::Imap, &server("elsewhere.example", 993)), KnownOffer::default());
        assert_eq!(offers.known(Protocol::Imap, &server("mail.example", 143)), KnownOffer::default());
        assert_eq!(offers.known(Protocol::Pop3, &servers.imap), KnownOffer::default());
        assert!(!offers.known(Protocol::Imap, &servers.smtp).initial_response);
    }
}
