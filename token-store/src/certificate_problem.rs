//! Why TLS with another server failed, if its certificate is the reason, and what to do about it.

use std::{error::Error, io};

use rustls::CertificateError;

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It has expired or is not valid yet, by this machine's clock.
    Clock,
    /// It was issued by an authority that is not trusted here.
    UnknownIssuer,
    /// Anything else.
    Other,
}

impl CertificateProblem {
    /// That of a failed connection, wherever in its chain of causes it is; none if the certificate is not the reason.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rustls::Error::InvalidCertificate(reason)) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::of_reason(reason));
            }
            next = cause(error);
        }
        None
    }

    fn of_reason(reason: &CertificateError) -> Self {
        use CertificateError as E;
        match reason {
            E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => Self::Clock,
            E::UnknownIssuer => Self::UnknownIssuer,
            _ => Self::Other,
        }
    }

    /// What happened with the certificate of a host, and what to do.
    pub fn explain(self, host: &str) -> String {
        match self {
            Self::Clock => format!(
                "The certificate of {host} has expired or is not valid yet by this machine's clock. Compare the clock with the time, and set it \
                 (on Windows `w32tm /resync`, on Linux `timedatectl`); if it is right, the certificate is to be renewed."
            ),
            Self::UnknownIssuer => format!(
                "The certificate of {host} is not trusted. If a firewall inspects TLS, name its certificate authority under [trust] \
                 ca-file in proxy.toml."
            ),
            Self::Other => format!(
                "The certificate of {host} is not accepted. Check the host in proxy.toml, and that no firewall answers in its place."
            ),
        }
    }
}

/// The error within another one. That of an I/O error is not its source, but the source's place is taken by that one's.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_problem_is_found_in_a_chain_of_causes() {
        let of = |reason| {
            let inner = io::Error::other(rustls::Error::InvalidCertificate(reason));
            CertificateProblem::of(&io::Error::other(inner))
        };
        assert_eq!(of(CertificateError::Expired), Some(CertificateProblem::Clock));
        assert_eq!(of(CertificateError::NotValidYet), Some(CertificateProblem::Clock));
        assert_eq!(of(CertificateError::UnknownIssuer), Some(CertificateProblem::UnknownIssuer));
        assert_eq!(of(CertificateError::BadEncoding), Some(CertificateProblem::Other));
        assert_eq!(CertificateProblem::of(&io::Error::other("reset")), None);
        assert!(CertificateProblem::Clock.explain("x").contains("timedatectl"));
        assert!(CertificateProblem::UnknownIssuer.explain("x").contains("[trust] ca-file"));
    }
}
