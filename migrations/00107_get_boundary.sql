-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_boundary(p_boundary text) RETURNS SETOF orisun.boundary
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT b.* FROM orisun.boundary b WHERE b.name = p_boundary;
    IF NOT FOUND THEN
        PERFORM orisun.find_boundary(p_boundary);
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_boundary(text) IS $$One boundary of orisun.list_boundaries. Raises OR001 when there is none of this name.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_boundary(text);
