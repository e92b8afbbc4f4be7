//! Remote verification: accounts whose passwords Microsoft verifies (RFC 6749, 4.3: the grant `password`).
//!
//! [`state`] decides from what Microsoft has answered, [`budget`] bounds wrong passwords by their source, and [`verifier`] asks.

mod budget;
mod state;
mod verifier;

pub(super) use self::verifier::RemoteVerifier;
