-- Version 5. What grants access to an account (its columns above, and which local passwords it has), sealed, so that nobody who
-- can write to the database can change it. `meta` has the ledger of all of them.
ALTER TABLE account ADD COLUMN access_seal BLOB;
