//! The certificates of the listeners, which are read again when their files change.

pub(crate) mod info;
pub(crate) mod watched;

pub(crate) use self::info::CertificateInfo;
pub(crate) use self::watched::Certificates;
