//! Workload identity federation: somebody else's word for who we are, in a file that they keep fresh
//! (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation>).

use std::{io::Read, path::PathBuf};

use oxpost_protocol::Secret;

use crate::error::{Problem, TokenError};

/// Longest token read, in bytes; those of Kubernetes have one to two thousand.
const TOKEN_LIMIT: u64 = 16 * 1024;

/// The file in which a platform (Kubernetes, a CI) leaves its statement about us. It is replaced every hour or so, and is
/// therefore read anew for every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedToken {
    /// Where it is; in a pod of Azure Kubernetes Service `AZURE_FEDERATED_TOKEN_FILE` says so.
    pub file: PathBuf,
}

impl FederatedToken {
    /// What the file holds now.
    pub(super) async fn assertion(&self, application: &str) -> Result<Secret, TokenError> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            std::fs::File::open(file)?.take(TOKEN_LIMIT + 1).read_to_end(&mut bytes)?;
            std::io::Result::Ok(Secret::new(bytes))
        });
        let unusable = |why: String| {
            let what = format!(
                "The token by which the application `{application}` proves itself, {}, {why}.",
                self.file.display()
            );
            let remedy = "It is tried again. If it lasts, check federated-token-file in proxy.toml, and whether the platform that \
                          writes the file still does.";
            TokenError::Misconfigured(Problem::new(what, remedy))
        };
        let text = read
            .await
            .unwrap_or_else(|_| Err(std::io::Error::other("the reading was aborted")))
            .map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let token = text.reveal().trim_ascii();
        let is_jwt = token.iter().all(u8::is_ascii_graphic) && token.split(|byte| *byte == b'.').count() == 3;
        if token.len() as u64 > TOKEN_LIMIT || !is_jwt {
            return Err(unusable("is no token (JWT)".to_owned()));
        }
        Ok(Secret::new(token))
    }
}
