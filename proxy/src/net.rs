//! Sockets, TLS and certificates, without a mail protocol.

pub(crate) mod certificate;
pub(crate) mod drive;
pub(crate) mod handshake_limit;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod watched_files;
