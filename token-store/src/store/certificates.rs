//! Which certificate of an application the authority accepts. The certificates and their keys are files; only a thumbprint is here.

use super::{Store, StoreError, changed, client_secrets::retry_failed_accounts};
use crate::database::Statement;

impl Store {
    /// The thumbprint of the certificate that was accepted when the other one had been refused, if that has happened.
    pub(crate) async fn accepted_certificate(&self, application: &str) -> Result<Option<String>, StoreError> {
        let select = "SELECT thumbprint FROM accepted_certificate WHERE application = $1";
        let rows = self.rows(Statement::new(select, [application.into()])).await?;
        Ok(rows.into_iter().find_map(|mut row| row.text(0)))
    }

    /// Notes it. `false` if it is noted already.
    pub(crate) async fn set_accepted_certificate(
        &self,
        application: &str,
        thumbprint: &str,
    ) -> Result<bool, StoreError> {
        let upsert = "INSERT INTO accepted_certificate (application, thumbprint) VALUES ($1, $2) \
                      ON CONFLICT (application) DO UPDATE SET thumbprint = excluded.thumbprint \
                      WHERE accepted_certificate.thumbprint <> excluded.thumbprint";
        let outcomes = self.run(vec![Statement::new(upsert, [application.into(), thumbprint.into()])]).await?;
        Ok(changed(outcomes.first()))
    }

    /// All that were accepted, as the name of the application and the thumbprint.
    pub(crate) async fn accepted_certificates(&self) -> Result<Vec<(String, String)>, StoreError> {
        let select = "SELECT application, thumbprint FROM accepted_certificate ORDER BY application";
        let rows = self.rows(Statement::new(select, [])).await?;
        Ok(rows.into_iter().filter_map(|mut row| Some((row.text(0)?, row.text(1)?))).collect())
    }

    /// Makes the accounts of an application that failed due again, because its credential was replaced. The others are not due because
    /// of it.
    pub async fn retry_failed_accounts(&self, application: &str) -> Result<(), StoreError> {
        self.run(vec![retry_failed_accounts(application)]).await.map(drop)
    }
}
