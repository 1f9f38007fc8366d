-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.saving_function(p_boundary text, p_of text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name text := (SELECT format('%I.%I', b.schema_name, b.name || '_orisun_save_' || p_of)
                     FROM orisun.boundary b WHERE b.name = p_boundary AND b.status = 'ACTIVE');
BEGIN
    IF v_name IS NULL THEN
        PERFORM orisun.find_boundary(p_boundary);
    END IF;
    RETURN v_name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.saving_function(text, text) IS $$The name of a boundary's own save_requests, which takes all that orisun.save_requests takes but the boundary (p_of is requests; see orisun.compose_saving),
or of its save_plain (p_of is plain; see orisun.compose_plain_saving). Raises OR001 when there is no such boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.saving_function(text, text);
