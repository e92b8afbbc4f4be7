-- Says to all nodes that a mailbox's sending limits have changed while some node waits for them; whose, as `hint.rs` calls it.
CREATE FUNCTION send_limit_written() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_notify(''oxpost_token'', ''limit:'' || encode(sha256(convert_to(NEW.server || '' '' || NEW.mailbox, ''UTF8'')), ''hex'')); RETURN NULL; END';
CREATE TRIGGER send_limit_made AFTER INSERT ON send_limit
FOR EACH ROW WHEN (NEW.waiting > 0) EXECUTE FUNCTION send_limit_written();
CREATE TRIGGER send_limit_written AFTER UPDATE ON send_limit
FOR EACH ROW WHEN (NEW.waiting > 0 OR OLD.waiting > 0) EXECUTE FUNCTION send_limit_written();
