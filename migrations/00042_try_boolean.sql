-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.try_boolean(p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE p_text WHEN 'true' THEN true WHEN 'false' THEN false END $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_boolean(text) IS $$JSON's true and false, or strings that say so, as boolean; NULL for anything else, never an error. It has no search_path of its own, so
that it is inlined into queries.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.try_boolean(text);
