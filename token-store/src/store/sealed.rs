//! The registry of sealed columns, and the only way by which the store seals and opens a value: a column that is not in the
//! registry cannot be sealed, so a change of the key cannot forget it. A test compares the registry with the tables as well.
//!
//! A sealed value is bound to its row: its context is `table/column/key`, where `key` is all that names the row.

use std::fmt::{self, Display};

use oxpost_protocol::Secret;

use crate::{
    database::{Row, Value},
    vault::{Vault, VaultError},
};

/// A column of sealed values.
pub(super) struct SealedColumn {
    table: &'static str,
    column: &'static str,
    /// Before every key, in the order of the key's columns.
    before_all: &'static [KeyStart],
    /// Selects the next values after a key, in the order of their keys: the columns of the key, then the value. Parameters: the
    /// columns of the key, and how many.
    pub(super) select_next: &'static str,
    /// Replaces a value, if it is still the one that was read. Parameters: the columns of the key, the value that was read, the
    /// new one.
    pub(super) replace: &'static str,
}

/// What is before every value of a column of a key.
#[derive(Clone, Copy)]
enum KeyStart {
    Text,
    Integer,
}

macro_rules! sealed_columns {
    ($($(#[$doc:meta])* $name:ident: $table:literal, $column:literal, $key:tt;)+) => {
        $($(#[$doc])* pub(super) static $name: SealedColumn = sealed_columns!(@column $table, $column, $key);)+

        /// Every column that holds sealed values. `meta` is the first, because it has the check value of the key: from the first
        /// batch of a change of the key on, a process that has the old key alone does not open the store.
        pub(super) static SEALED_COLUMNS: &[&SealedColumn] = &[$(&$name),+];
    };
    (@column $table:literal, $column:literal, ($key:literal: $start:ident)) => {
        SealedColumn {
            table: $table,
            column: $column,
            before_all: &[KeyStart::$start],
            select_next: concat!(
                "SELECT ", $key, ", ", $column, " FROM ", $table, " WHERE ", $key, " > $1 AND ", $column,
                " IS NOT NULL ORDER BY ", $key, " LIMIT $2"
            ),
            replace: concat!(
                "UPDATE ", $table, " SET ", $column, " = $3 WHERE ", $key, " = $1 AND ", $column, " = $2"
            ),
        }
    };
    (@column $table:literal, $column:literal, ($key:literal: $start:ident, $then:literal: $then_start:ident)) => {
        SealedColumn {
            table: $table,
            column: $column,
            before_all: &[KeyStart::$start, KeyStart::$then_start],
            select_next: concat!(
                "SELECT ", $key, ", ", $then, ", ", $column, " FROM ", $table, " WHERE (", $key, ", ", $then,
                ") > ($1, $2) AND ", $column, " IS NOT NULL ORDER BY ", $key, ", ", $then, " LIMIT $3"
            ),
            replace: concat!(
                "UPDATE ", $table, " SET ", $column, " = $4 WHERE ", $key, " = $1 AND ", $then, " = $2 AND ", $column,
                " = $3"
            ),
        }
    };
}

sealed_columns! {
    /// The check value of the key, and the ledger of what grants access.
    META: "meta", "value", ("name": Text);
    ACCESS_SEAL: "account", "access_seal", ("mailbox": Text);
    ACCESS_TOKEN: "token", "access_token", ("mailbox": Text);
    REFRESH_TOKEN: "token", "refresh_token", ("mailbox": Text);
    /// Whose sign-in it is, and the name that mail servers know them by.
    IDENTITY: "token", "identity", ("mailbox": Text);
    PASSWORD_HASH: "local_password", "hash", ("mailbox": Text, "name": Text);
    /// The time is a part of the key, so that an old password cannot be made a new one.
    VERIFIED_HASH: "judged_password", "hash", ("mailbox": Text, "judged": Integer);
    FAMILIAR_SOURCE: "familiar_source", "source", ("mailbox": Text, "place": Integer);
    CLIENT_SECRET: "client_secret", "sealed", ("application": Text);
    NEXT_CLIENT_SECRET: "next_client_secret", "sealed", ("application": Text);
}

/// The columns above, as `table/column`.
#[cfg(test)]
pub(crate) fn sealed_columns() -> Vec<String> {
    SEALED_COLUMNS.iter().map(|column| column.name()).collect()
}

impl SealedColumn {
    /// `table/column`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.table, self.column)
    }

    /// A key before every other one.
    pub(super) fn before_all(&self) -> Vec<Value> {
        let start = |start: &KeyStart| match start {
            KeyStart::Text => Value::Text(String::new()),
            KeyStart::Integer => Value::Integer(i64::MIN),
        };
        self.before_all.iter().map(start).collect()
    }

    /// The key and the value of a row of `select_next`.
    pub(super) fn read(&self, row: Row) -> Option<(Vec<Value>, Vec<u8>)> {
        let mut key = row.0;
        let value = key.pop()?;
        match value {
            Value::Bytes(value) if key.len() == self.before_all.len() => Some((key, value)),
            _ => None,
        }
    }

    fn context(&self, key: &[&dyn Display]) -> String {
        let mut context = self.name();
        for part in key {
            context.push('/');
            context.push_str(&part.to_string());
        }
        context
    }
}

/// The vault of a store: it seals and opens values of the columns above.
#[derive(Clone)]
pub(super) struct Sealer(Vault);

impl Sealer {
    pub(super) fn new(vault: Vault) -> Self {
        Self(vault)
    }

    /// Seals a value for the row that `key` names.
    pub(super) fn seal(
        &self,
        column: &SealedColumn,
        key: &[&dyn Display],
        secret: &Secret,
    ) -> Result<Vec<u8>, VaultError> {
        self.0.seal(&column.context(key), secret)
    }

    /// Opens a value that was sealed for this row.
    pub(super) fn open(
        &self,
        column: &SealedColumn,
        key: &[&dyn Display],
        sealed: &[u8],
    ) -> Result<Secret, VaultError> {
        self.0.open(&column.context(key), sealed)
    }

    /// Whether a value was sealed with the key that seals now.
    pub(super) fn is_current(&self, sealed: &[u8]) -> bool {
        self.0.is_current(sealed)
    }

    /// See [`Vault::short_tag`].
    pub(super) fn short_tag(&self, context: &str, secret: &Secret) -> u16 {
        self.0.short_tag(context, secret)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_and_context_of_a_column_name_its_whole_key() {
        assert_eq!(
            PASSWORD_HASH.select_next,
            "SELECT mailbox, name, hash FROM local_password WHERE (mailbox, name) > ($1, $2) AND hash IS NOT NULL \
             ORDER BY mailbox, name LIMIT $3"
        );
        assert_eq!(
            PASSWORD_HASH.replace,
            "UPDATE local_password SET hash = $4 WHERE mailbox = $1 AND name = $2 AND hash = $3"
        );
        assert_eq!(PASSWORD_HASH.context(&[&"a@x", &"scanner"]), "local_password/hash/a@x/scanner");
        assert_eq!(FAMILIAR_SOURCE.context(&[&"a@x", &7_i64]), "familiar_source/source/a@x/7");
    }
}
