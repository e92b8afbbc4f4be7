//! What SMTP servers offered after their last login: known on every node, and after a restart, before anyone logs in.

use std::time::SystemTime;

use super::{Store, StoreError};
use crate::database::Statement;

/// One server's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpExtensions {
    /// The server's host name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its extensions, as in its answer to EHLO: `SIZE 157286400`.
    pub extensions: Vec<String>,
}

impl Store {
    /// Replaces the list of a server.
    pub async fn save_smtp_extensions(&self, list: &SmtpExtensions, now: SystemTime) -> Result<(), StoreError> {
        let upsert = "INSERT INTO smtp_extensions (host, port, extensions, learned) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (host, port) DO UPDATE SET extensions = excluded.extensions, learned = excluded.learned";
        let lines = list.extensions.join("\n");
        let values = [list.host.as_str().into(), i64::from(list.port).into(), lines.as_str().into(), now.into()];
        self.change(Statement::new(upsert, values)).await.map(drop)
    }

    /// The lists of all servers.
    pub async fn smtp_extensions(&self) -> Result<Vec<SmtpExtensions>, StoreError> {
        let rows = self.rows(Statement::new("SELECT host, port, extensions FROM smtp_extensions", [])).await?;
        let read = |mut row: crate::database::Row| {
            let (host, port) = (row.text(0)?, u16::try_from(row.integer(1)?).ok()?);
            Some(SmtpExtensions { host, port, extensions: row.text(2)?.lines().map(str::to_owned).collect() })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// The applications of the accounts that may log in, those of their delegates included.
    pub async fn applications_in_use(&self) -> Result<Vec<String>, StoreError> {
        let select = "SELECT DISTINCT COALESCE(a.application, d.application) FROM account a \
                      LEFT JOIN account d ON d.mailbox = a.through WHERE a.origin <> 'withdrawn'";
        let rows = self.rows(Statement::new(select, [])).await?;
        Ok(rows.into_iter().filter_map(|mut row| row.text(0)).collect())
    }
}
