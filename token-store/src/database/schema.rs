//! The tables of one database, as an ordered list of migrations. An engine is given a schema when it opens a database, makes
//! a new one by running all migrations, and brings an older one up to date by running those it has not seen.
//!
//! All that is missing runs in one transaction, together with the new version number: a migration that fails or is killed
//! leaves the version before, whole.

use std::path::Path;

use super::DatabaseError;

/// What an engine must know of a database.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// What the database is called, in the names of threads and in the log: `store`.
    pub name: &'static str,
    /// Marks a SQLite file as this database (`PRAGMA application_id`), and names its locks on PostgreSQL.
    pub application_id: i32,
    /// The schema on PostgreSQL that holds the tables, so that they may share a database with others.
    pub postgres_schema: &'static str,
    /// The channel on PostgreSQL by which its triggers tell nodes of changes (`LISTEN`), if there are any.
    pub postgres_channel: Option<&'static str>,
    /// Statements that SQLite runs when it opens a file that no other process has open: what it takes out was left by a
    /// process that has ended.
    pub when_alone: Option<&'static str>,
    /// The first makes version 1 of an empty database, each of the others its version of the one before.
    pub migrations: &'static [Migration],
}

/// One step from a version to the next.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The SQL text for both engines, as SQLite reads it; `dialect` translates it for PostgreSQL.
    pub sql: &'static str,
    /// What only PostgreSQL has, such as a trigger; run after that.
    pub postgres: &'static str,
}

impl Schema {
    /// The version that this program writes.
    pub fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }

    /// The migrations that a database of a version still needs; an empty one has version 0.
    ///
    /// # Errors
    /// A newer program has written it, or it has no version. `name` is its path or server.
    pub(super) fn pending(&self, found: i64, name: &Path) -> Result<&'static [Migration], DatabaseError> {
        let Ok(done) = usize::try_from(found) else {
            let why = format!("its version is {found}");
            return Err(DatabaseError::Garbled { path: name.to_owned(), why });
        };
        let newer = || DatabaseError::Newer { path: name.to_owned(), found, known: self.version() };
        self.migrations.get(done..).ok_or_else(newer)
    }

    /// The lock on PostgreSQL under which one node at a time makes or migrates the tables.
    pub(super) fn migration_lock(&self) -> i64 {
        self.application_id.into()
    }

    /// The lock on PostgreSQL that every process holds while it has the database open.
    pub(super) fn open_lock(&self) -> i64 {
        i64::from(self.application_id) << 32 | 1
    }

    /// The tables as an earlier version of the program knew them.
    #[cfg(test)]
    pub(crate) fn as_of(self, version: usize) -> Self {
        Self { migrations: &self.migrations[..version], ..self }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::schema::STORE_SCHEMA;

    use super::*;

    #[test]
    fn pending_migrations_are_those_after_the_version_found() {
        let pending = |found| STORE_SCHEMA.pending(found, Path::new("store.db")).map(<[Migration]>::len);
        let known = STORE_SCHEMA.version();
        assert_eq!(pending(0), Ok(STORE_SCHEMA.migrations.len()));
        assert_eq!(pending(1), Ok(STORE_SCHEMA.migrations.len() - 1));
        assert_eq!(pending(known), Ok(0));
        let newer = |found| DatabaseError::Newer { path: "store.db".into(), found, known };
        assert_eq!(pending(known + 1), Err(newer(known + 1)));
        assert_eq!(pending(i64::MAX), Err(newer(i64::MAX)));
        assert!(matches!(pending(-1), Err(DatabaseError::Garbled { .. })));
    }

    /// Nodes of the first version hold these numbers: another one would let two of them migrate, or rotate a key, at a time.
    #[test]
    fn store_locks_keep_the_numbers_of_version_1() {
        assert_eq!((STORE_SCHEMA.migration_lock(), STORE_SCHEMA.open_lock()), (0x4f78_506f, 0x4f78_506f_0000_0001));
    }
}
