//! `[log]`: the level or filter.

use tracing_subscriber::filter::{EnvFilter, ParseError};

/// A level or filter as an administrator writes it.
///
/// # Errors
/// It is neither.
pub(crate) fn log_filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_distinguished_from_mistakes() {
        assert!(log_filter("trace").is_ok() && log_filter("info,oxpost=debug").is_ok());
        assert!(log_filter("oxpost=lots").is_err());
    }
}
