-- +goose Up
-- A database from before these chapters (its versions end at 130) keeps its old schema until 00223_from_130.sql has
-- taken over its rows. Indexes of boundaries are built on the three casts, so those move.
-- +goose StatementBegin
DO $$
BEGIN
    IF to_regnamespace('orisun') IS NOT NULL THEN
        ALTER SCHEMA orisun RENAME TO orisun_130;
    END IF;
END
$$;
-- +goose StatementEnd

CREATE SCHEMA orisun;

-- +goose StatementBegin
DO $$
BEGIN
    IF to_regnamespace('orisun_130') IS NOT NULL THEN
        ALTER FUNCTION orisun_130.try_numeric(text) SET SCHEMA orisun;
        ALTER FUNCTION orisun_130.try_boolean(text) SET SCHEMA orisun;
        ALTER FUNCTION orisun_130.try_timestamptz(text) SET SCHEMA orisun;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON SCHEMA orisun IS
$$Orisun, an event store: the catalogue of boundaries, the functions that save and read events, and the shapes of the
tables that each boundary has in a schema of its own. The functions for people are listed in docs/dba.md.

Errors raised by these functions have SQLSTATEs of the class OR, with JSON in DETAIL and the way out in HINT:
  OR001  unknown boundary
  OR002  invalid name of a boundary or schema
  OR003  the context changed: an event that matches the criteria lies after the expected position
  OR004  an event_id is taken by another event
  OR005  wrong isolation level: positions are drawn under READ COMMITTED only
  OR006  the boundary exists already with another definition, or its tables are missing, another role's or of another
         shape
  OR007  malformed argument
  OR008  events exist, so a migration does not go down
  OR009  unknown index
  OR010  an index of that name exists already with another definition, or its name is that of another relation
  OR011  another session makes or drops an index of the boundary
  OR012  the boundary cannot be deleted
  OR020  unknown user
  OR021  the username is taken
  OR022  the user has ended too many sessions
  OR030  the name of a lease belongs to another user
  OR040  unknown subscription
  OR041  a subscription of that name exists already with another definition
  OR042  the boundary has as many subscriptions as the limit
  OR043  the subscription has as many consumers as the limit
  OR044  an event is not parked$$;

-- +goose Down
DROP SCHEMA orisun;
