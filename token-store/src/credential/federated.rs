//! Workload identity federation: somebody else's word for who we are, in a file that they keep fresh
//! (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation>).

use std::path::PathBuf;

use oxpost_protocol::Secret;

use crate::{
    error::{Problem, TokenError},
    text_file::TextFile,
};

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
    ///
    /// # Errors
    /// It cannot be read, or holds no token.
    pub async fn read(&self, application: &str) -> Result<Secret, TokenError> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || TextFile::open(&file)?.text(TOKEN_LIMIT)?.value("the token"));
        let unusable = |why: String| {
            let what =
                format!("The token by which the application `{application}` proves itself cannot be used: {why}.");
            let remedy = "Check federated-token-file in proxy.toml, and whether the platform that \
                          writes the file still does.";
            TokenError::Misconfigured(Problem::new(what, remedy))
        };
        let token = match read.await {
            Ok(read) => read.map_err(|error| unusable(error.to_string()))?,
            Err(_) => return Err(unusable(format!("the reading of {} was aborted", self.file.display()))),
        };
        let text = token.reveal();
        if !text.iter().all(u8::is_ascii_graphic) || text.split(|byte| *byte == b'.').count() != 3 {
            return Err(unusable(format!("{} is no token (JWT)", self.file.display())));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text_file::shapes::{self, Reading};

    #[tokio::test]
    async fn token_file_of_every_shape_is_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let token = FederatedToken { file: folder.path().join("token") };
        for shape in shapes::of("eyJh.eyJz.c2ln") {
            std::fs::write(&token.file, &shape.bytes).unwrap();
            match (token.read("app").await, shape.one_line) {
                (Ok(read), Reading::Meant) => assert_eq!(read.reveal(), b"eyJh.eyJz.c2ln", "{}", shape.name),
                (Err(error), Reading::Named(words)) => {
                    let error = error.to_string();
                    assert!(error.contains(words) && !error.contains("eyJ"), "{}: {error}", shape.name);
                }
                (read, _) => panic!("{}: {read:?}", shape.name),
            }
        }
        std::fs::write(&token.file, "secret").unwrap();
        let error = token.read("app").await.unwrap_err().to_string();
        assert!(error.contains("is no token (JWT)") && !error.contains("secret"), "{error}");
    }
}
