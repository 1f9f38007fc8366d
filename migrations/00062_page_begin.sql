-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.page_begin(p_transaction_id bigint, p_global_id bigint, p_inclusive boolean, p_descending boolean) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN p_transaction_id IS NULL OR p_global_id IS NULL THEN NULL
        WHEN p_inclusive THEN p_global_id
        WHEN p_descending THEN greatest(p_global_id, -9223372036854775807) - 1
        ELSE least(p_global_id, 9223372036854775806) + 1
    END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.page_begin(bigint, bigint, boolean, boolean) IS $$The global_id of the first position that a page may hold, which need not be that of an event; NULL for the very beginning or end. What
is exclusive becomes the next position in the page's direction.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.page_begin(bigint, bigint, boolean, boolean);
