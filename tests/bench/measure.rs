//! The measurements, one a file.

pub(crate) mod instructions;
pub(crate) mod password_checks;
pub(crate) mod round_trip;
pub(crate) mod sessions;
pub(crate) mod transfer;
pub(crate) mod unauthenticated;

use std::time::Duration;

/// A proxy is left alone for so long before its memory is read, that it has put away what it used.
pub(crate) const REST: Duration = Duration::from_millis(500);

/// A mean; the counts here are small enough for any float.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn per(total: f64, n: usize) -> f64 {
    total / n.max(1) as f64
}
