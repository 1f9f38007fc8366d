-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_page(
    p_boundary     text,
    p_tag_criteria integer[],
    p_tag_keys     text[],
    p_tag_values   text[],
    p_bound        boolean,
    p_descending   boolean
) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_reading record := orisun.compose_reading(p_boundary, p_tag_criteria, p_tag_keys, p_tag_values,
                                               p_bound AND NOT p_descending, p_bound AND p_descending, p_descending);
BEGIN
    IF v_reading.depends_on_values THEN
        RETURN NULL;
    END IF;
    -- Nobody reads from types: it lets parameters that the statement does not use have a type.
    RETURN 'WITH types AS (SELECT $1::text[], $2::integer, $3::bigint, $4::bigint, $5::bigint, $6::bigint) ' || v_reading.statement;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_page(text, integer[], text[], text[], boolean, boolean) IS $$The statement that orisun.get_events runs for such criteria, for a session that keeps it itself and so saves itself the way through that function, which takes
several times as long as a page of ten events. NULL where it depends on values. Its parameters are orisun.reading_types(). It counts on indexes that may be
dropped, and knows none that are made later: whoever keeps it asks again before long, and sees to the settings that orisun.get_events has.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_page(text, integer[], text[], text[], boolean, boolean);
