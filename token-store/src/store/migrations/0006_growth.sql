-- Version 6. Whether the refresher has anything to do for an account: 0 yes; 1 no, there is nothing to get tokens with; 2 no, nobody uses
-- its tokens. The refresher notes it of rows that would be due for ever, and whoever changes an account or its sign-in sets it back to 0.
ALTER TABLE token ADD COLUMN idle INTEGER NOT NULL DEFAULT 0;

-- What a login and the background tasks ask for, so that neither reads all accounts.
CREATE INDEX token_due ON token (COALESCE(next_refresh, 0)) WHERE idle = 0;
CREATE INDEX token_failed ON token (mailbox) WHERE error_kind IS NOT NULL AND idle < 2;
CREATE INDEX token_unused ON token (issued_at) WHERE refresh_token IS NOT NULL AND idle < 2;
CREATE INDEX account_through ON account (through) WHERE through IS NOT NULL;
CREATE INDEX folder_account ON folder (account);
CREATE INDEX mail_use_account ON mail_use (account);
