//! Tokens in the store: sealed, versioned, and written by compare-and-swap.

use std::time::SystemTime;

use aws_lc_rs::rand;
use oxpost_protocol::Secret;

use super::{
    LastError, Store, StoreError, TokenSet, TokenState, lease,
    sealed::{ACCESS_TOKEN, IDENTITY, REFRESH_TOKEN},
};
use crate::{
    account::{Account, Grant, Mailbox},
    database::{Row, Statement, Value},
    error::ErrorKind,
    identity::KnownIdentity,
    schedule,
    vault::VaultError,
};

/// The row of an account, opened.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) version: i64,
    pub(crate) access: Option<IssuedToken>,
    pub(crate) refresh: RefreshToken,
    /// Who signed in; `None` also if it does not open.
    pub(crate) identity: Option<KnownIdentity>,
    /// Something is stored there, and does not open.
    pub(crate) has_unreadable_identity: bool,
    /// The name of the user who signed in, for administrators.
    pub(crate) signed_in_as: Option<String>,
    pub(crate) failed_at: Option<SystemTime>,
    /// The last failure since the tokens were obtained, and when to try again.
    pub(crate) failure: Option<Failure>,
}

/// An access token and its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuedToken {
    pub(crate) secret: Secret,
    pub(crate) issued_at: SystemTime,
    pub(crate) expires_at: SystemTime,
    /// The name that mail servers know the account's own user by.
    pub(crate) sign_in_name: Option<Mailbox>,
}

/// A refresh token, if there is one that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefreshToken {
    None,
    Some(Secret),
    Unreadable,
}

/// A failure, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
    pub(crate) code: Option<u32>,
    pub(crate) at: SystemTime,
    pub(crate) try_again: SystemTime,
}

/// Versions start at a random number, so that an account that was removed and added again never matches an old version.
pub(super) fn first_version() -> Result<i64, StoreError> {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes).map_err(|_| VaultError::Library)?;
    Ok(i64::from(u32::from_le_bytes(bytes)) << 16)
}

impl Store {
    /// A user signed in: the new tokens replace the stored ones, and the last error is forgotten. An account with a delegate has
    /// no tokens of its own. The caller has checked that it is the account's user.
    pub async fn save_signed_in(
        &self,
        mailbox: &Mailbox,
        tokens: &TokenSet,
        signed_in_as: Option<&str>,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let (access, refresh) = self.seal_tokens(mailbox, tokens)?;
        let known = self.tokens(mailbox).await?.identity;
        // An application has no user.
        let account = self.account(mailbox).await?;
        let known = known.filter(|_| account.is_some_and(|account| account.grant != Grant::ClientCredentials));
        let identity = KnownIdentity::of_sign_in(tokens.identity.as_ref(), known.as_ref(), mailbox, signed_in_as);
        let update = Statement::new(
            "UPDATE token SET version = version + 1, idle = 0, access_token = $2, issued_at = $3, expires_at = $4, refresh_token = $5, \
             next_refresh = $6, signed_in_as = $7, identity = $8, \
             app_only = (SELECT application FROM account WHERE mailbox = $1 AND grant_kind = 'client-credentials'), error_kind = NULL, error_text = NULL, error_what = NULL, error_remedy = NULL, \
             error_code = NULL, error_since = NULL, error_at = NULL, lease_owner = NULL, lease_until = NULL WHERE mailbox = $1 \
             AND EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through IS NULL)",
            [
                mailbox.as_str().into(),
                access,
                now.into(),
                schedule::after(now, tokens.lifetime).into(),
                refresh,
                schedule::next_refresh(now, tokens.lifetime, schedule::jitter()).into(),
                signed_in_as.into(),
                self.seal_identity(mailbox, identity.as_ref())?,
            ],
        );
        if self.change(update).await? { Ok(()) } else { Err(StoreError::NoSuchAccount(mailbox.clone())) }
    }

    /// Adopts a refresh token that another program has kept, for an account that has none. The refresher uses it at its next
    /// look. `false` if a user has signed in meanwhile, or there is no such account: then nothing is changed.
    pub async fn adopt_refresh_token(&self, mailbox: &Mailbox, refresh_token: &Secret) -> Result<bool, StoreError> {
        let sealed = self.seal(&REFRESH_TOKEN, &[mailbox], refresh_token)?;
        let update = Statement::new(
            "UPDATE token SET version = version + 1, idle = 0, refresh_token = $2, identity = NULL, signed_in_as = NULL, next_refresh = NULL, error_kind = NULL, error_text = NULL, \
             error_what = NULL, error_remedy = NULL, error_code = NULL, error_since = NULL, error_at = NULL \
             WHERE mailbox = $1 AND refresh_token IS NULL \
             AND EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through IS NULL)",
            [mailbox.as_str().into(), sealed],
        );
        self.change(update).await
    }

    /// Writes the tokens of a refresh over the version it started from, and releases the lease. `false` if another process wrote
    /// meanwhile, or this node's lease was taken over. Without a new refresh token the old one stays.
    pub(crate) async fn save_refreshed(
        &self,
        mailbox: &Mailbox,
        version: i64,
        node: &str,
        tokens: &TokenSet,
        identity: Option<&KnownIdentity>,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let (access, refresh) = self.seal_tokens(mailbox, tokens)?;
        let update = Statement::new(
            "UPDATE token SET version = version + 1, access_token = $3, issued_at = $4, expires_at = $5, \
             refresh_token = COALESCE($6, refresh_token), identity = COALESCE($9, identity), \
             signed_in_as = COALESCE($10, signed_in_as), next_refresh = $7, error_kind = NULL, error_text = NULL, \
             error_what = NULL, error_remedy = NULL, error_code = NULL, error_since = NULL, error_at = NULL, \
             lease_owner = NULL, lease_until = NULL WHERE mailbox = $1 AND version = $2 AND lease_owner = $8",
            [
                mailbox.as_str().into(),
                version.into(),
                access,
                now.into(),
                schedule::after(now, tokens.lifetime).into(),
                refresh,
                schedule::next_refresh(now, tokens.lifetime, schedule::jitter()).into(),
                node.into(),
                self.seal_identity(mailbox, identity)?,
                identity.map(|known| known.user.name.as_str()).into(),
            ],
        );
        self.change(update).await
    }

    /// The newest token that another account of the application has obtained, if it is not due for replacement. The cost does
    /// not depend on the number of accounts.
    pub(crate) async fn app_only_token(
        &self,
        application: &str,
        mailbox: &Mailbox,
        now: SystemTime,
    ) -> Result<Option<IssuedToken>, StoreError> {
        let select = "SELECT mailbox, access_token, issued_at, expires_at, next_refresh FROM token WHERE app_only = $1 \
                      AND mailbox <> $2 AND access_token IS NOT NULL ORDER BY issued_at DESC LIMIT 1";
        let values = [application.into(), mailbox.as_str().into()];
        let Some(mut row) = self.rows(Statement::new(select, values)).await?.into_iter().next() else {
            return Ok(None);
        };
        let (Some(other), Some(sealed)) = (row.text(0), row.bytes(1)) else { return Ok(None) };
        let (Some(issued_at), Some(expires_at)) = (row.time(2), row.time(3)) else { return Ok(None) };
        let Ok(other) = Mailbox::parse(&other) else { return Ok(None) };
        if row.time(4).is_none_or(|next_refresh| next_refresh <= now) {
            return Ok(None);
        }
        // The row says whose token it is, and only an account that Oxpost has written may say so.
        let is_the_applications = |account: &Account| {
            account.application == application
                && account.grant == Grant::ClientCredentials
                && account.delegate.is_none()
        };
        if !self.account(&other).await.ok().flatten().is_some_and(|account| is_the_applications(&account)) {
            return Ok(None);
        }
        let opened = self.sealer.open(&ACCESS_TOKEN, &[&other], &sealed).ok();
        Ok(opened.map(|secret| IssuedToken { secret, issued_at, expires_at, sign_in_name: None }))
    }

    /// Writes a token of the application over the version that was read. `false` if another process wrote meanwhile.
    pub(crate) async fn save_app_only(
        &self,
        application: &str,
        mailbox: &Mailbox,
        version: i64,
        token: &IssuedToken,
    ) -> Result<bool, StoreError> {
        let lifetime = token.expires_at.duration_since(token.issued_at).unwrap_or_default();
        let update = Statement::new(
            "UPDATE token SET version = version + 1, access_token = $3, issued_at = $4, expires_at = $5, next_refresh = $6, \
             app_only = $7, error_kind = NULL, error_text = NULL, error_what = NULL, error_remedy = NULL, error_code = NULL, \
             error_since = NULL, error_at = NULL WHERE mailbox = $1 AND version = $2",
            [
                mailbox.as_str().into(),
                version.into(),
                self.seal(&ACCESS_TOKEN, &[mailbox], &token.secret)?,
                token.issued_at.into(),
                token.expires_at.into(),
                schedule::next_refresh(token.issued_at, lifetime, schedule::jitter()).into(),
                application.into(),
            ],
        );
        self.change(update).await
    }

    /// Writes a refresh token that came with an access token that is not needed, over the version and under the lease it was
    /// requested with.
    pub(crate) async fn save_rotated(
        &self,
        mailbox: &Mailbox,
        version: i64,
        node: &str,
        refresh_token: &Secret,
    ) -> Result<bool, StoreError> {
        let sealed = self.seal(&REFRESH_TOKEN, &[mailbox], refresh_token)?;
        let update = Statement::new(
            "UPDATE token SET version = version + 1, refresh_token = $3 \
             WHERE mailbox = $1 AND version = $2 AND lease_owner = $4",
            [mailbox.as_str().into(), version.into(), sealed, node.into()],
        );
        self.change(update).await
    }

    /// Records a failure and when to try again, and releases the lease of the node that had asked under one. The tokens and the
    /// version stay as they are.
    pub(crate) async fn record_failure(
        &self,
        mailbox: &Mailbox,
        version: i64,
        node: Option<&str>,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let update = Statement::new(
            "UPDATE token SET error_kind = $3, error_text = $4, error_since = CASE WHEN error_at > $5 OR error_at < $5 - 86400000 THEN $5 \
             ELSE COALESCE(error_since, $5) END, error_at = $5, \
             next_refresh = $6, error_what = $7, error_remedy = $8, error_code = $9 WHERE mailbox = $1 AND version = $2",
            [
                mailbox.as_str().into(),
                version.into(),
                failure.kind.as_str().into(),
                failure.text.as_str().into(),
                failure.at.into(),
                failure.try_again.into(),
                failure.what.as_str().into(),
                failure.remedy.as_str().into(),
                failure.code.map(i64::from).into(),
            ],
        );
        let release = node.map(|node| lease::release(mailbox, node));
        self.run(std::iter::once(update).chain(release).collect()).await.map(drop)
    }

    /// The tokens of an account, opened. An access token that does not open counts as none: a new one is requested.
    pub(crate) async fn tokens(&self, mailbox: &Mailbox) -> Result<Stored, StoreError> {
        let select = "SELECT version, access_token, issued_at, expires_at, refresh_token, error_kind, error_text, error_at, \
                      next_refresh, error_what, error_remedy, error_code, identity, signed_in_as FROM token WHERE mailbox = $1";
        let mut row = self.row(select, mailbox).await?;
        let version = row.integer(0).unwrap_or_default();
        let open = |column, sealed: Vec<u8>| self.sealer.open(column, &[mailbox], &sealed).ok();
        let (access, issued_at, expires_at) = (row.bytes(1), row.time(2), row.time(3));
        let identity = row.bytes(12).map(|sealed| KnownIdentity::from_json(&open(&IDENTITY, sealed)?));
        let has_unreadable_identity = matches!(identity, Some(None));
        let identity = identity.flatten();
        let access = access.and_then(|sealed| {
            Some(IssuedToken {
                secret: open(&ACCESS_TOKEN, sealed)?,
                issued_at: issued_at?,
                expires_at: expires_at?,
                sign_in_name: identity.as_ref().and_then(KnownIdentity::sign_in_name),
            })
        });
        let refresh = match row.bytes(4) {
            None => RefreshToken::None,
            Some(sealed) => open(&REFRESH_TOKEN, sealed).map_or(RefreshToken::Unreadable, RefreshToken::Some),
        };
        let (kind, text, failed_at) = (row.text(5).as_deref().and_then(ErrorKind::parse), row.text(6), row.time(7));
        let failure = match (kind, text, failed_at, row.time(8)) {
            (Some(kind), Some(text), Some(at), Some(try_again)) => Some(Failure {
                kind,
                text,
                what: row.text(9).unwrap_or_default(),
                remedy: row.text(10).unwrap_or_default(),
                code: row.integer(11).and_then(|code| u32::try_from(code).ok()),
                at,
                try_again,
            }),
            _ => None,
        };
        let signed_in_as = row.text(13);
        Ok(Stored { version, access, refresh, identity, has_unreadable_identity, signed_in_as, failed_at, failure })
    }

    /// The state of an account's tokens, for administrators.
    pub async fn token_state(&self, mailbox: &Mailbox) -> Result<TokenState, StoreError> {
        let select = "SELECT signed_in_as, CASE WHEN refresh_token IS NULL THEN 0 ELSE 1 END, issued_at, expires_at, next_refresh, \
                      error_kind, error_text, error_at, error_what, error_remedy, error_code, error_since, identity FROM token \
                      WHERE mailbox = $1";
        let mut row = self.row(select, mailbox).await?;
        let sealed = row.bytes(12).and_then(|sealed| self.sealer.open(&IDENTITY, &[mailbox], &sealed).ok());
        let identity = sealed.and_then(|text| KnownIdentity::from_json(&text));
        let renamed_to = identity.and_then(|known| known.sign_in_name()).filter(|name| name != mailbox);
        Ok(TokenState { renamed_to, ..read_state(&mut row, 0) })
    }

    async fn row(&self, select: &'static str, mailbox: &Mailbox) -> Result<Row, StoreError> {
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        rows.into_iter().next().ok_or_else(|| StoreError::NoSuchAccount(mailbox.clone()))
    }

    fn seal_tokens(&self, mailbox: &Mailbox, tokens: &TokenSet) -> Result<(Value, Value), StoreError> {
        let access = self.seal(&ACCESS_TOKEN, &[mailbox], &tokens.access_token)?;
        let refresh = match &tokens.refresh_token {
            Some(token) => self.seal(&REFRESH_TOKEN, &[mailbox], token)?,
            None => Value::Null,
        };
        Ok((access, refresh))
    }

    fn seal_identity(&self, mailbox: &Mailbox, identity: Option<&KnownIdentity>) -> Result<Value, StoreError> {
        match identity {
            Some(known) => {
                self.seal(&IDENTITY, &[mailbox], &known.to_json().ok_or(StoreError::Vault(VaultError::Library))?)
            }
            None => Ok(Value::Null),
        }
    }
}

/// The state in the columns from this one on.
pub(super) fn read_state(row: &mut Row, first: usize) -> TokenState {
    let kind = row.text(first + 5).as_deref().and_then(ErrorKind::parse);
    let (text, at) = (row.text(first + 6), row.time(first + 7));
    TokenState {
        signed_in_as: row.text(first),
        renamed_to: None,
        has_refresh_token: row.integer(first + 1) == Some(1),
        refreshed_at: row.time(first + 2),
        access_token_expires: row.time(first + 3),
        next_refresh: row.time(first + 4),
        last_error: match (kind, text, at) {
            (Some(kind), Some(text), Some(at)) => Some(LastError {
                kind,
                what: row.text(first + 8).unwrap_or_else(|| text.clone()),
                remedy: row.text(first + 9).unwrap_or_default(),
                code: row.integer(first + 10).and_then(|code| u32::try_from(code).ok()),
                since: row.time(first + 11).unwrap_or(at),
                text,
                at,
            }),
            _ => None,
        },
    }
}
