//! When client secrets expire. Only Microsoft knows it, so a person has to say it.

use std::time::SystemTime;

use super::{Store, StoreError, changed};
use crate::{
    application::{NextSecret, SecretExpiry},
    database::Statement,
};

impl Store {
    /// Notes the end of an application's client secret.
    pub async fn set_secret_expiry(&self, application: &str, expires: SystemTime) -> Result<(), StoreError> {
        let upsert = "INSERT INTO secret_end (application, expires) VALUES ($1, $2) \
                      ON CONFLICT (application) DO UPDATE SET expires = excluded.expires";
        self.change(Statement::new(upsert, [application.into(), expires.into()])).await.map(drop)
    }

    /// Forgets it: there is another secret. `false` if none was known.
    pub async fn forget_secret_expiry(&self, application: &str) -> Result<bool, StoreError> {
        let delete = Statement::new("DELETE FROM secret_end WHERE application = $1", [application.into()]);
        Ok(changed(self.run(vec![delete]).await?.first()))
    }

    /// All that is known, by the name of the application.
    pub async fn secret_expiries(&self) -> Result<Vec<SecretExpiry>, StoreError> {
        let select = "SELECT application, expires, CAST(0 AS BIGINT) AS next FROM secret_end \
                      UNION ALL SELECT application, expires, CAST(1 AS BIGINT) AS next FROM next_client_secret \
                      ORDER BY application, next";
        let mut ends: Vec<SecretExpiry> = Vec::new();
        for mut row in self.rows(Statement::new(select, [])).await? {
            let Some(application) = row.text(0) else { continue };
            let (expires, is_next) = (row.time(1), row.integer(2) == Some(1));
            if ends.last().is_none_or(|last| last.application != application) {
                ends.push(SecretExpiry { application, ..SecretExpiry::default() });
            }
            let Some(end) = ends.last_mut() else { continue };
            if is_next {
                end.next = Some(NextSecret { expires });
            } else {
                end.expires = expires;
            }
        }
        for (application, thumbprint) in self.accepted_certificates().await? {
            let accepted_certificate = Some(thumbprint);
            ends.push(SecretExpiry { application, accepted_certificate, ..SecretExpiry::default() });
        }
        Ok(ends)
    }
}
