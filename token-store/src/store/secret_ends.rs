//! Until when client secrets are good. Only Microsoft knows it, so a person has to say it.

use std::time::SystemTime;

use super::{Store, StoreError, changed};
use crate::database::Statement;

impl Store {
    /// Notes the end of an application's client secret.
    pub async fn set_secret_end(&self, application: &str, expires: SystemTime) -> Result<(), StoreError> {
        let upsert = "INSERT INTO secret_end (application, expires) VALUES ($1, $2) \
                      ON CONFLICT (application) DO UPDATE SET expires = excluded.expires";
        self.change(Statement::new(upsert, [application.into(), expires.into()])).await.map(drop)
    }

    /// Forgets it: there is another secret. `false` if none was known.
    pub async fn forget_secret_end(&self, application: &str) -> Result<bool, StoreError> {
        let delete = Statement::new("DELETE FROM secret_end WHERE application = $1", [application.into()]);
        Ok(changed(self.run(vec![delete]).await?.first()))
    }

    /// All that are known, by the name of the application.
    pub async fn secret_ends(&self) -> Result<Vec<(String, SystemTime)>, StoreError> {
        let rows = self.rows(Statement::new("SELECT application, expires FROM secret_end", [])).await?;
        Ok(rows.into_iter().filter_map(|mut row| Some((row.text(0)?, row.time(1)?))).collect())
    }
}
