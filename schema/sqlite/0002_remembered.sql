-- What outlives the facts of an instance (JSON); NULL for most.
ALTER TABLE instance_health ADD COLUMN remembered TEXT;
