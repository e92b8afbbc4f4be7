//! The places where SQLite and PostgreSQL need different SQL.
//!
//! | written | SQLite | PostgreSQL |
//! |---|---|---|
//! | `$1` | `?1`: there `$1` is a name, numbered by its first appearance | the same |
//! | `DATABASE_NOW`, milliseconds since 1970 | `unixepoch` | `clock_timestamp`: of the moment, not of the transaction |
//! | `INTEGER`, `BLOB` in a table | the same | `BIGINT`, `BYTEA` |
//! | `TEXT` in a table | compared by its bytes | told to be compared like that, whatever the locale |
//! | `STRICT` | values have the type of their column | always so |

/// The word that stands for the time now by the database's clock.
const NOW: &str = "DATABASE_NOW";

pub(crate) fn for_sqlite(sql: &str) -> String {
    sql.replace('$', "?").replace(NOW, "CAST(unixepoch('subsec') * 1000 AS INTEGER)")
}

pub(super) fn for_postgres(sql: &str) -> String {
    sql.replace(NOW, "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
}

/// The text of a migration for PostgreSQL. Its comments are left out, so that no word of theirs is taken for a type.
pub(super) fn tables_for_postgres(schema: &str) -> String {
    let mut text = String::new();
    for line in schema.lines().filter(|line| !line.trim_start().starts_with("--")) {
        let mut words = String::new();
        // Words are separated by blanks in our text, and a comma may follow a type.
        for word in line.split_inclusive([' ', ',', ')', ';']) {
            let bare = word.trim_end_matches([' ', ',', ')', ';']);
            let said = match bare {
                "INTEGER" => "BIGINT",
                "BLOB" => "BYTEA",
                "TEXT" => "TEXT COLLATE \"C\"",
                "STRICT" => "",
                other => other,
            };
            words.push_str(&word.replacen(bare, said, usize::from(!bare.is_empty())));
        }
        text.push_str(&words);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_said_to_each_engine() {
        let sql = "UPDATE token SET lease_until = DATABASE_NOW + $2 WHERE mailbox = $1";
        assert_eq!(
            for_sqlite(sql),
            "UPDATE token SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?2 WHERE mailbox = ?1"
        );
        assert!(for_postgres(sql).ends_with("* 1000 AS BIGINT) + $2 WHERE mailbox = $1"));
    }

    #[test]
    fn tables_are_said_to_postgres() {
        let schema = "-- A BLOB.\nCREATE TABLE meta (\n    name  TEXT PRIMARY KEY,\n    value BLOB NOT NULL,\n    at INTEGER,\n    x TEXT\n) STRICT;";
        assert_eq!(
            tables_for_postgres(schema),
            "CREATE TABLE meta (\n    name  TEXT COLLATE \"C\" PRIMARY KEY,\n    value BYTEA NOT NULL,\n    at BIGINT,\n    x TEXT COLLATE \"C\"\n) ;\n"
        );
        for migration in crate::store::schema::STORE_SCHEMA.migrations {
            let ours = tables_for_postgres(migration.sql);
            assert!(!["BLOB", "INTEGER", "STRICT"].iter().any(|word| ours.contains(word)), "{ours}");
        }
    }
}
