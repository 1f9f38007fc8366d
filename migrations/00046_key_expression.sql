-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.key_expression(p_event text, p_key text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN p_key IN ('event_type', 'eventType') THEN p_event || 'event_type'
                ELSE format('(%sdata ->> %L)', p_event, p_key) END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.key_expression(text, text) IS $$The SQL that is what a tag's key names, as text; p_event stands before the columns: 'e.' in a query, nothing in an index.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.key_expression(text, text);
