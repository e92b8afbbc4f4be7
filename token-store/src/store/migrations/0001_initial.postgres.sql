-- Says to all nodes, within a round trip, that an account is new, that tokens were written, or that a lease was taken or
-- given back; and whose, as `hint.rs` calls them.
CREATE FUNCTION token_written() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_notify(''oxpost_token'', encode(sha256(convert_to(NEW.mailbox, ''UTF8'')), ''hex'')); RETURN NULL; END';
CREATE TRIGGER token_written AFTER INSERT OR UPDATE OF version, lease_owner ON token
FOR EACH ROW EXECUTE FUNCTION token_written();
