-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.is_served(p_boundary text, p_keys text[]) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.find_boundary(p_boundary);
    RETURN p_keys = '{}' OR EXISTS (
        SELECT FROM unnest(orisun.choose_indexes(orisun.find_indexes(p_boundary), p_keys, NULL)) i
         WHERE i.field_keys <> ARRAY['event_type'] OR p_keys <@ ARRAY['event_type', 'eventType']);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.is_served(text, text[]) IS $$Whether an index serves criteria whose tags have these keys, for some values at least. An index on nothing but the event's type does not count where
there are other keys: types are few, so it leaves most of a boundary to be read. Raises OR001 for an unknown boundary.

  SELECT orisun.is_served('orders', ARRAY['user_id'])$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.is_served(text, text[]);
