//! What can go wrong in starting a tenant.

use std::io;

/// Why a tenant could not be started, or a token not be made.
#[derive(Debug)]
pub enum Error {
    /// A socket.
    Io(io::Error),
    /// A certificate could not be made.
    Certificate(rcgen::Error),
    /// TLS could not be set up.
    Tls(rustls::Error),
    /// The system has no random numbers.
    Random,
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "simulated tenant: {error}"),
            Self::Certificate(error) => write!(formatter, "simulated tenant: certificate: {error}"),
            Self::Tls(error) => write!(formatter, "simulated tenant: TLS: {error}"),
            Self::Random => formatter.write_str("simulated tenant: no random numbers"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error)
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}
