//! From the text of `proxy.toml`, and the environment, to its shape.

use std::path::Path;

use super::file::File;
use super::problem::ConfigError;

/// The environment variables that override keys begin with this; `__` separates the levels.
const ENVIRONMENT_PREFIX: &str = "OXPOST";

/// Reads the text of a file, with the overrides of the environment on top.
///
/// `config` puts the two together; its messages do not name lines, so a failure is explained by reading the file once more
/// with `toml` alone.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    parse_with(path, text, None)
}

/// Reads a text that is no file yet: the environment has nothing to do with it.
pub(super) fn parse_alone(path: &Path, text: &str) -> Result<File, ConfigError> {
    parse_with(path, text, Some(std::collections::HashMap::new()))
}

fn parse_with(
    path: &Path,
    text: &str,
    environment: Option<std::collections::HashMap<String, String>>,
) -> Result<File, ConfigError> {
    let mut overrides = config::Environment::with_prefix(ENVIRONMENT_PREFIX)
        .prefix_separator("__")
        .separator("__")
        .convert_case(config::Case::Kebab)
        .try_parsing(true);
    if let Some(variables) = environment {
        overrides = overrides.source(Some(variables.into_iter().collect()));
    }
    let both = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(overrides)
        .build()
        .and_then(config::Config::try_deserialize::<File>);
    both.map_err(|error| match toml::from_str::<File>(text) {
        Err(in_file) => ConfigError::from_toml(path, text, &in_file),
        Ok(_) => ConfigError::in_environment(&error.to_string()),
    })
}

#[cfg(test)]
mod tests;
