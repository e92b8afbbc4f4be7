-- A store of version 1, as `pg_dump --no-owner --inserts --schema=oxpost` wrote it.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE SCHEMA oxpost;

CREATE FUNCTION oxpost.token_written() RETURNS trigger
    LANGUAGE plpgsql
    AS $$BEGIN PERFORM pg_notify('oxpost_token', encode(sha256(convert_to(NEW.mailbox, 'UTF8')), 'hex')); RETURN NULL; END$$;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE oxpost.account (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    through text COLLATE pg_catalog."C",
    application text COLLATE pg_catalog."C",
    grant_kind text COLLATE pg_catalog."C",
    login text NOT NULL COLLATE pg_catalog."C",
    senders text COLLATE pg_catalog."C",
    origin text NOT NULL COLLATE pg_catalog."C",
    created bigint NOT NULL
);

CREATE TABLE oxpost.ban (
    source text NOT NULL COLLATE pg_catalog."C",
    node text NOT NULL COLLATE pg_catalog."C",
    since bigint NOT NULL,
    ends bigint NOT NULL
);

CREATE TABLE oxpost.client_secret (
    application text NOT NULL COLLATE pg_catalog."C",
    sealed bytea NOT NULL
);

CREATE TABLE oxpost.folder (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    folder text NOT NULL COLLATE pg_catalog."C",
    uid_validity bigint NOT NULL,
    recreated bigint
);

CREATE TABLE oxpost.judged_password (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    judged bigint NOT NULL,
    last_used bigint
);

CREATE TABLE oxpost.local_password (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    declared bigint NOT NULL,
    created bigint NOT NULL,
    last_used bigint
);

CREATE TABLE oxpost.mail_use (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    protocol text NOT NULL COLLATE pg_catalog."C",
    sessions bigint NOT NULL,
    fetched bigint NOT NULL,
    stored bigint NOT NULL,
    last_end text COLLATE pg_catalog."C",
    last_end_at bigint,
    throttled_at bigint,
    throttled_until bigint
);

CREATE TABLE oxpost.meta (
    name text NOT NULL COLLATE pg_catalog."C",
    value bytea NOT NULL
);

CREATE TABLE oxpost.notice (
    subject text NOT NULL COLLATE pg_catalog."C",
    topic text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    event text NOT NULL COLLATE pg_catalog."C",
    cause text NOT NULL COLLATE pg_catalog."C",
    what text NOT NULL COLLATE pg_catalog."C",
    remedy text NOT NULL COLLATE pg_catalog."C",
    since bigint NOT NULL,
    told bigint,
    due bigint,
    solved bigint
);

CREATE TABLE oxpost.refusal (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    protocol text NOT NULL COLLATE pg_catalog."C",
    what text NOT NULL COLLATE pg_catalog."C",
    said text NOT NULL COLLATE pg_catalog."C",
    noted bigint NOT NULL
);

CREATE TABLE oxpost.secret_end (
    application text NOT NULL COLLATE pg_catalog."C",
    expires bigint NOT NULL
);

CREATE TABLE oxpost.store_version (
    version bigint NOT NULL
);

CREATE TABLE oxpost.token (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    signed_in_as text COLLATE pg_catalog."C",
    access_token bytea,
    issued_at bigint,
    expires_at bigint,
    refresh_token bytea,
    next_refresh bigint,
    error_kind text COLLATE pg_catalog."C",
    error_text text COLLATE pg_catalog."C",
    error_what text COLLATE pg_catalog."C",
    error_remedy text COLLATE pg_catalog."C",
    error_code bigint,
    error_since bigint,
    error_at bigint,
    lease_owner text COLLATE pg_catalog."C",
    lease_until bigint
);

INSERT INTO oxpost.account VALUES ('ann@contoso.com', NULL, 'office', 'sign-in', 'ann@contoso.com', NULL, 'command', 1800000000000);
INSERT INTO oxpost.account VALUES ('info@contoso.com', 'ann@contoso.com', NULL, NULL, 'info@contoso.com', NULL, 'command', 1800000000000);
INSERT INTO oxpost.account VALUES ('dan@contoso.com', NULL, 'office', 'password', 'dan@contoso.com', NULL, 'command', 1800000000000);
INSERT INTO oxpost.account VALUES ('ben@contoso.com', NULL, 'office', 'sign-in', 'scanner', '{"mode":"account","allowed":[],"map":[]}', 'command', 1800000000000);
INSERT INTO oxpost.account VALUES ('*@fabrikam.example', NULL, 'office', 'client-credentials', '*@fabrikam.example', NULL, 'command', 1800000000000);

INSERT INTO oxpost.ban VALUES ('192.0.2.7', 'a', 1800000000000, 1800003600000);

INSERT INTO oxpost.client_secret VALUES ('office', '\x01ffb5bcc39026fed973f0846967b7b37f6c25f65e581145ad468647c0c1861bb103ac27e3d8a136a6423b52cac5');

INSERT INTO oxpost.folder VALUES ('ann@contoso.com', 'ann@contoso.com', 'INBOX', 14, NULL);

INSERT INTO oxpost.judged_password VALUES ('dan@contoso.com', '\x01ffb5bcc3185e364ac57d074205ace51a96f9c8e19c3011d8ead090f8efb11decc305cb5381d5e870ce3c38f64ba0473ead32367e7a777e4e06f89b2ca654eba9c40917a20f913b089cde47e680e5d99ec794d685a3518cf29ac266c973a532be54519df165addd7a2124efe20502e3ffa82412f2d9bf3d1f0cf8cd359165f77c3e', 1800000000000, NULL);

INSERT INTO oxpost.local_password VALUES ('ann@contoso.com', 'default', '\x01ffb5bcc30c6313174a53a3150eaff6738a0128a4305ad5dcfb1382d284ff02c03849c32813395884769c15e9173f6620f86fdef828f0f11f40da096d76e211bcbcb9412c860e36ba755afd0c4ca4b6a03e307473d113b204d6d704a406c987f5865eb0c158218ab888c5b2b7403481da1977307af4ce4cb631a24186ae2fc5c6ff', 0, 1800000000000, NULL);
INSERT INTO oxpost.local_password VALUES ('ann@contoso.com', 'printer', '\x01ffb5bcc3eb1abc1253b0bc1aaae808efafd08651dc32fcfa69442cee19ee016b64d04ab450a3036a469414c90975d1236160ce62cef8010eb239aec1791e051ecf28df9d1dd9db34b4b37784d6519a19c9750be6b73d4ac8e2d6e0efcca73e092ade7d834d83204c9336c9ae88bfb9945705c429c04d938bcb21d1cb11a9a5838e', 0, 1800000000000, NULL);
INSERT INTO oxpost.local_password VALUES ('info@contoso.com', 'default', '\x01ffb5bcc3a354513ce9e24be6d334b4c214393c00bf7c9e535a86251ff6a8016d16635b1dc63f9ac18e9888bb98046c6abcc32f769b6eac3d4fec46306dcd785d3b0fade141cd8355398468133de8eaef324f3a0a2ed9a2341be734b8657498e335c837d40530b4540fe7019f1c0fecfd8c7120e03b3ad962283e32413512065514', 0, 1800000000000, NULL);

INSERT INTO oxpost.mail_use VALUES ('ann@contoso.com', 'ann@contoso.com', 'IMAP', 3, 20, 1, NULL, NULL, NULL, NULL);

INSERT INTO oxpost.meta VALUES ('key-check', '\x01ffb5bcc36664a46a46322b844253fc109039e8f042a2b551ea57a2160b881f6167b3359d78892f924d92c021622fd6b37b235b2ed9');

INSERT INTO oxpost.notice VALUES ('ben@contoso.com', 'smtp', '1', 'refused', 'x', 'What.', 'Remedy.', 1800000000000, 1800000000000, NULL, NULL);

INSERT INTO oxpost.refusal VALUES ('ben@contoso.com', 'SMTP', 'Switched off.', '535 5.7.139', 1800000000000);

INSERT INTO oxpost.secret_end VALUES ('office', 1800086400000);

INSERT INTO oxpost.store_version VALUES (1);

INSERT INTO oxpost.token VALUES ('ann@contoso.com', 261997739573250, 'ann@contoso.com', '\x01ffb5bcc30eda3c551815d047a79c7184a7c201cdc183c9464f94673a4c7d2ee3fb8dc15e53930d494f595ec818', 1800000000000, 1800003600000, '\x01ffb5bcc3f05d699b1fbb656629af27f5bfcbf48c7307f2c87ef551ec2fc3dec0b7afa2e0651cbdd0bda119276c54', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO oxpost.token VALUES ('ben@contoso.com', 109281287536642, 'ben@contoso.com', '\x01ffb5bcc35044204b5fab8201421c30ae5e1949ce7f0652057e5521618585cd365bfaa43a48ee33163c4a669244', 1800000000000, 1800003600000, '\x01ffb5bcc33156a6f0f331e5184e3eee9e3709764f5e7a7ecd3e0a90f35918b66c8b020035e683ab1b1130b1b18934', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO oxpost.token VALUES ('dan@contoso.com', 233485776257025, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO oxpost.token VALUES ('*@fabrikam.example', 125034561339393, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

ALTER TABLE ONLY oxpost.account
    ADD CONSTRAINT account_login_key UNIQUE (login);

ALTER TABLE ONLY oxpost.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (mailbox);

ALTER TABLE ONLY oxpost.ban
    ADD CONSTRAINT ban_pkey PRIMARY KEY (source, node);

ALTER TABLE ONLY oxpost.client_secret
    ADD CONSTRAINT client_secret_pkey PRIMARY KEY (application);

ALTER TABLE ONLY oxpost.folder
    ADD CONSTRAINT folder_pkey PRIMARY KEY (mailbox, folder);

ALTER TABLE ONLY oxpost.judged_password
    ADD CONSTRAINT judged_password_pkey PRIMARY KEY (mailbox);

ALTER TABLE ONLY oxpost.local_password
    ADD CONSTRAINT local_password_pkey PRIMARY KEY (mailbox, name);

ALTER TABLE ONLY oxpost.mail_use
    ADD CONSTRAINT mail_use_pkey PRIMARY KEY (mailbox, protocol);

ALTER TABLE ONLY oxpost.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);

ALTER TABLE ONLY oxpost.notice
    ADD CONSTRAINT notice_pkey PRIMARY KEY (subject, topic);

ALTER TABLE ONLY oxpost.refusal
    ADD CONSTRAINT refusal_pkey PRIMARY KEY (mailbox, protocol);

ALTER TABLE ONLY oxpost.secret_end
    ADD CONSTRAINT secret_end_pkey PRIMARY KEY (application);

ALTER TABLE ONLY oxpost.token
    ADD CONSTRAINT token_pkey PRIMARY KEY (mailbox);

CREATE TRIGGER token_written AFTER INSERT OR UPDATE OF version, lease_owner ON oxpost.token FOR EACH ROW EXECUTE FUNCTION oxpost.token_written();

ALTER TABLE ONLY oxpost.account
    ADD CONSTRAINT account_through_fkey FOREIGN KEY (through) REFERENCES oxpost.account(mailbox);

ALTER TABLE ONLY oxpost.folder
    ADD CONSTRAINT folder_account_fkey FOREIGN KEY (account) REFERENCES oxpost.account(mailbox) ON DELETE CASCADE;

ALTER TABLE ONLY oxpost.judged_password
    ADD CONSTRAINT judged_password_mailbox_fkey FOREIGN KEY (mailbox) REFERENCES oxpost.account(mailbox) ON DELETE CASCADE;

ALTER TABLE ONLY oxpost.local_password
    ADD CONSTRAINT local_password_mailbox_fkey FOREIGN KEY (mailbox) REFERENCES oxpost.account(mailbox) ON DELETE CASCADE;

ALTER TABLE ONLY oxpost.mail_use
    ADD CONSTRAINT mail_use_account_fkey FOREIGN KEY (account) REFERENCES oxpost.account(mailbox) ON DELETE CASCADE;

ALTER TABLE ONLY oxpost.refusal
    ADD CONSTRAINT refusal_mailbox_fkey FOREIGN KEY (mailbox) REFERENCES oxpost.account(mailbox) ON DELETE CASCADE;

ALTER TABLE ONLY oxpost.token
    ADD CONSTRAINT token_mailbox_fkey FOREIGN KEY (mailbox) REFERENCES oxpost.account(mailbox) ON DELETE CASCADE;
