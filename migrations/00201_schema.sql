-- +goose Up
CREATE SCHEMA orisun;

COMMENT ON SCHEMA orisun IS $$Orisun, an event store: the catalogue of boundaries, the functions that save and read events, and the
shapes of the tables that each boundary has in a schema of its own. Read the manual with \df+ orisun.*

Errors raised by these functions have SQLSTATEs of the class OR, with JSON in DETAIL and the way out in HINT:
  OR001  unknown boundary
  OR002  invalid name of a boundary or schema
  OR003  the context changed: an event that matches the criteria lies after the expected position
  OR004  an event_id is taken by another event
  OR005  wrong isolation level: positions are drawn under READ COMMITTED only
  OR006  the boundary exists already with another definition, or its tables are missing, somebody else's or of another shape
  OR007  malformed argument
  OR008  events exist, so a migration does not go down
  OR009  unknown index
  OR010  an index of that name exists already with another definition, or its name is that of another relation
  OR011  another session makes or drops an index of the boundary
  OR012  the boundary cannot be deleted
  OR020  unknown user
  OR021  the username is taken
  OR030  the name of a lease belongs to another user$$;

-- +goose Down
DROP SCHEMA orisun;
