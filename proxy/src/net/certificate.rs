//! The certificates of the listeners, which are read again when their files change.

pub(crate) mod held;
pub(crate) mod watched;

pub(crate) use self::held::Held;
pub(crate) use self::watched::Certificates;
