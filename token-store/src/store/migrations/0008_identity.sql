-- Version 8. Who the sign-in belongs to: tenant, object id, and the name that it has now, which may be another one than the account's
-- address. It is sealed.
ALTER TABLE token ADD COLUMN identity BLOB;

-- The application that an app-only access token was got for, so that its other accounts find the newest one.
ALTER TABLE token ADD COLUMN app_only TEXT;
CREATE INDEX token_app_only ON token (app_only, issued_at) WHERE app_only IS NOT NULL;
