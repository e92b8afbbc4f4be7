//! `[store]`: a file, or a database that several nodes share.

use std::path::Path;

use oxpost_token_store::PostgresSettings;

use super::StorePlace;
use super::file::Store;
use super::secret::from_file;

/// The default for `path`.
const FILE: &str = "oxpost.db";

/// Where the store is; or the key that is wrong, and a sentence. Neither ever quotes the URL, which may hold what it must
/// not.
pub(super) fn place(store: &Store, folder: &Path) -> Result<StorePlace, (&'static str, String)> {
    let Some(url) = &store.postgres else {
        if store.postgres_password_file.is_some() {
            let sentence = "there is a password for PostgreSQL but no `postgres`; add that, or remove this.";
            return Err(("postgres-password-file", sentence.into()));
        }
        return Ok(StorePlace::File(folder.join(store.path.as_ref().map_or(Path::new(FILE), |path| &path.0))));
    };
    if store.path.is_some() {
        let sentence = "the store is either a file (path) or a database (postgres); remove one of the two.";
        return Err(("postgres", sentence.into()));
    }
    let password = match &store.postgres_password_file {
        Some(file) => {
            let what = "the password of the database";
            Some(from_file(&folder.join(&file.0), what).map_err(|sentence| ("postgres-password-file", sentence))?)
        }
        None => None,
    };
    PostgresSettings::parse(url, password.as_ref())
        .map(|settings| StorePlace::Postgres(Box::new(settings)))
        .map_err(|error| ("postgres", format!("the URL cannot be used: {error}")))
}
