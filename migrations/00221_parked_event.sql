-- +goose Up
-- Events that were refused too often: consumers pass them by.

-- +goose StatementBegin
CREATE FUNCTION orisun.park_event(p_boundary text, p_subscription text, p_partition integer, p_epoch bigint,
                                  p_global_id bigint, p_key text, p_reason text,
                                  p_refusals integer, p_limit integer)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The subscription before its partition, as a deletion locks them: the foreign key of parked_event locks it anyway.
    PERFORM FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_subscription FOR KEY SHARE;
    PERFORM FROM orisun.subscription_partition p
      WHERE p.boundary = p_boundary AND p.subscription = p_subscription AND p.partition = p_partition
        AND p.epoch = p_epoch FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'fenced';
    ELSIF p_refusals = 0
          AND NOT EXISTS (SELECT FROM orisun.parked_event e WHERE e.boundary = p_boundary
                             AND e.subscription = p_subscription AND e.partition = p_partition AND e.key = p_key) THEN
        RETURN 'none';
    ELSIF (SELECT count(*) FROM (SELECT FROM orisun.parked_event e WHERE e.boundary = p_boundary
                                    AND e.subscription = p_subscription LIMIT p_limit) e) >= p_limit
          AND NOT EXISTS (SELECT FROM orisun.parked_event e WHERE e.boundary = p_boundary
                             AND e.subscription = p_subscription AND e.global_id = p_global_id) THEN
        RETURN 'full';
    END IF;
    INSERT INTO orisun.parked_event (boundary, subscription, global_id, partition, key, reason, refusals)
    VALUES (p_boundary, p_subscription, p_global_id, p_partition, p_key, p_reason, p_refusals)
    ON CONFLICT (boundary, subscription, global_id) DO UPDATE
        SET reason = excluded.reason, refusals = excluded.refusals, parked_at = excluded.parked_at,
                                                                  replaying = false;
    RETURN 'parked';
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.park_event(text, text, integer, bigint, bigint, text, text, integer, integer) IS
$$Parks an event: 'parked', or 'fenced' for an old epoch, or 'full' if p_limit events are parked already. One without
refusals is to be parked behind others of its key: 'none' if no such event is parked any more.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.settle_parked(p_boundary text, p_subscription text, p_partition integer, p_epoch bigint,
                                     p_global_id bigint, p_key text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM orisun.subscription_partition p
      WHERE p.boundary = p_boundary AND p.subscription = p_subscription AND p.partition = p_partition
        AND p.epoch = p_epoch FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'fenced';
    END IF;
    DELETE FROM orisun.parked_event e WHERE e.boundary = p_boundary AND e.subscription = p_subscription
       AND e.global_id = p_global_id;
    RETURN CASE WHEN EXISTS (SELECT FROM orisun.parked_event e WHERE e.boundary = p_boundary
                                AND e.subscription = p_subscription
                                AND e.partition = p_partition AND e.key = p_key) THEN 'more' ELSE 'none' END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.settle_parked(text, text, integer, bigint, bigint, text) IS
$$Removes a parked event that was replayed and acknowledged, and returns whether its key has 'more' or 'none'; 'fenced'
for an old epoch.$$;

CREATE FUNCTION orisun.count_parked(p_boundary text, p_name text) RETURNS TABLE (subscription text, parked bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.subscription, count(*) FROM orisun.parked_event e
     WHERE e.boundary = p_boundary AND (p_name = '' OR e.subscription = p_name) GROUP BY e.subscription
$$;

COMMENT ON FUNCTION orisun.count_parked(text, text) IS
$$How many events the subscriptions of a boundary have parked; those without are missing.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_parked(p_boundary text, p_subscription text, p_partition integer, p_replaying boolean,
                                   p_after bigint, p_count integer)
RETURNS TABLE (global_id bigint, transaction_id bigint, date_created timestamptz, event_id text, event_type text,
               data jsonb, metadata jsonb,
               partition integer, key text, reason text, refusals integer, parked_at timestamptz, replaying boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.find_subscription(p_boundary, p_subscription);
    RETURN QUERY EXECUTE format($sql$
        SELECT e.global_id, e.transaction_id, e.date_created, e.event_id::text, e.event_type::text, e.data, e.metadata,
               k.partition, k.key, k.reason, k.refusals, k.parked_at, k.replaying
          FROM orisun.parked_event k
          JOIN %s e ON e.global_id = k.global_id
         WHERE k.boundary = $1 AND k.subscription = $2 AND k.global_id > $5 AND ($3 < 0 OR k.partition = $3)
           AND (k.replaying OR NOT $4)
         ORDER BY k.global_id LIMIT $6
        $sql$, (orisun.find_boundary(p_boundary)).events)
      USING p_boundary, p_subscription, p_partition, p_replaying, p_after, p_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_parked(text, text, integer, boolean, bigint, integer) IS
$$The parked events of a subscription after a position, in order: of one partition, or of all with -1; with p_replaying
only those that are to be delivered again. Raises OR040 for an unknown subscription.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_replays(p_boundary text, p_subscription text, p_partition integer, p_count integer,
                                    p_bytes bigint)
RETURNS TABLE (global_id bigint, transaction_id bigint, date_created timestamptz, event_id text, event_type text,
               data jsonb, metadata jsonb)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_bytes bigint := 0;
BEGIN
    -- A loop, so that PostgreSQL fetches the data of no further events.
    FOR list_replays.global_id, list_replays.transaction_id, list_replays.date_created, list_replays.event_id,
        list_replays.event_type, list_replays.data, list_replays.metadata IN
        SELECT l.global_id, l.transaction_id, l.date_created, l.event_id, l.event_type, l.data, l.metadata
          FROM orisun.list_parked(p_boundary, p_subscription, p_partition, true, -1, p_count) l
         ORDER BY l.global_id
    LOOP
        RETURN NEXT;
        v_bytes := v_bytes + octet_length(data::text) + octet_length(metadata::text);
        EXIT WHEN v_bytes > p_bytes;
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_replays(text, text, integer, integer, bigint) IS
$$The first parked events of a partition that are to be delivered again. The last one may go beyond p_bytes of data and
metadata. Raises OR040 for an unknown subscription.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.require_parked(p_boundary text, p_subscription text, p_global_ids bigint[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_unknown bigint[];
BEGIN
    SELECT array_agg(g.global_id ORDER BY g.global_id) INTO v_unknown
      FROM unnest(p_global_ids) AS g(global_id)
     WHERE NOT EXISTS (SELECT FROM orisun.parked_event e WHERE e.boundary = p_boundary
                          AND e.subscription = p_subscription AND e.global_id = g.global_id);
    IF v_unknown IS NOT NULL THEN
        RAISE EXCEPTION 'subscription "%" of boundary "%" has no parked events at % of the positions: global_id %',
            p_subscription, p_boundary, cardinality(v_unknown), array_to_string(v_unknown[1:16], ', ')
            USING ERRCODE = 'OR044',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'subscription', p_subscription,
                                              'global_ids', v_unknown)::text,
                  HINT = 'orisun.list_parked lists those that there are. An acknowledged or skipped one is no longer '
                         'parked.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.require_parked(text, text, bigint[]) IS
$$Raises OR044, with the first 16 of them, if events are not parked.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.replay_parked(p_boundary text, p_subscription text, p_global_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_count bigint;
BEGIN
    PERFORM orisun.lock_subscription(p_boundary, p_subscription);
    PERFORM orisun.require_parked(p_boundary, p_subscription, p_global_ids);
    UPDATE orisun.parked_event e SET replaying = true
     WHERE e.boundary = p_boundary AND e.subscription = p_subscription AND NOT e.replaying
       AND (cardinality(p_global_ids) = 0 OR e.global_id = ANY (p_global_ids));
    GET DIAGNOSTICS v_count = ROW_COUNT;
    PERFORM orisun.notify_nodes(orisun.consumer_nodes(p_boundary, p_subscription));
    RETURN v_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.replay_parked(text, text, bigint[]) IS
$$Marks parked events to be delivered again, all of them for an empty array, and returns how many. Raises OR040, and
OR044 if one of them is not parked.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.skip_parked(p_boundary text, p_subscription text, p_global_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_count bigint;
BEGIN
    PERFORM orisun.lock_subscription(p_boundary, p_subscription);
    PERFORM orisun.require_parked(p_boundary, p_subscription, p_global_ids);
    DELETE FROM orisun.parked_event e
     WHERE e.boundary = p_boundary AND e.subscription = p_subscription
       AND (cardinality(p_global_ids) = 0 OR e.global_id = ANY (p_global_ids));
    GET DIAGNOSTICS v_count = ROW_COUNT;
    PERFORM orisun.notify_nodes(orisun.consumer_nodes(p_boundary, p_subscription));
    RETURN v_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.skip_parked(text, text, bigint[]) IS
$$Removes parked events, all of them for an empty array, and returns how many. Raises OR040, and OR044 if one of them
is not parked.$$;

-- +goose Down
DROP FUNCTION orisun.skip_parked(text, text, bigint[]);
DROP FUNCTION orisun.replay_parked(text, text, bigint[]);
DROP FUNCTION orisun.require_parked(text, text, bigint[]);
DROP FUNCTION orisun.list_replays(text, text, integer, integer, bigint);
DROP FUNCTION orisun.list_parked(text, text, integer, boolean, bigint, integer);
DROP FUNCTION orisun.count_parked(text, text);
DROP FUNCTION orisun.settle_parked(text, text, integer, bigint, bigint, text);
DROP FUNCTION orisun.park_event(text, text, integer, bigint, bigint, text, text, integer, integer);
