-- +goose Up
-- What is acknowledged of each partition, and how far it is behind.

-- +goose StatementBegin
CREATE FUNCTION orisun.read_checkpoints(p_boundary text, p_subscription text, p_partitions integer[])
RETURNS TABLE (partition integer, transaction_id bigint, global_id bigint, acknowledged bigint[], parked_keys text[])
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT p.partition, coalesce(c.transaction_id, -1), coalesce(c.global_id, -1), p.acknowledged,
               ARRAY(SELECT DISTINCT e.key FROM orisun.parked_event e
                      WHERE s.park_following AND e.boundary = $1 AND e.subscription = $2 AND e.partition = p.partition)
          FROM orisun.subscription_partition p
          JOIN orisun.subscription s ON s.boundary = p.boundary AND s.name = p.subscription
          LEFT JOIN %s c ON c.name = orisun.checkpoint_name($2, p.partition)
         WHERE p.boundary = $1 AND p.subscription = $2 AND p.partition = ANY ($3)
        $sql$, orisun.find_boundary_table(p_boundary, '_projector_checkpoint'))
      USING p_boundary, p_subscription, p_partitions;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_checkpoints(text, text, integer[]) IS
$$Where consumers of partitions begin: the checkpoint, what is acknowledged beyond it, and the keys with parked events
where later ones are parked behind them.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.save_checkpoints(p_boundary text, p_subscriptions text[], p_partitions integer[],
                                        p_epochs bigint[],
                                        p_transaction_ids bigint[], p_global_ids bigint[], p_acknowledged text[],
                                        p_oldest bigint[],
                                        p_number bigint)
RETURNS TABLE (subscription text, partition integer, epoch bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        WITH given AS (
            SELECT * FROM unnest($2, $3, $4, $5, $6, $7, $8)
                       AS g(subscription, partition, epoch, transaction_id, global_id, acknowledged, oldest)
        ), locked AS (
            -- In one order, so that two sessions do not wait for each other.
            SELECT FROM orisun.subscription_partition p
              JOIN given g ON g.subscription = p.subscription AND g.partition = p.partition AND g.epoch = p.epoch
             WHERE p.boundary = $1
             ORDER BY p.subscription, p.partition
               FOR NO KEY UPDATE OF p
        ), fenced AS (
            UPDATE orisun.subscription_partition p
               SET acknowledged = g.acknowledged::bigint[], oldest = nullif(g.oldest, -1), saved_epoch = g.epoch,
                   saved = $9
              FROM given g
             WHERE (SELECT count(*) FROM locked) > 0
               AND p.boundary = $1 AND p.subscription = g.subscription AND p.partition = g.partition
               AND p.epoch = g.epoch
               AND (p.saved_epoch, p.saved) < (g.epoch, $9)
            RETURNING g.subscription, g.partition, g.epoch, g.transaction_id, g.global_id
        ), saved AS (
            INSERT INTO %s AS c (name, transaction_id, global_id, date_updated)
            SELECT orisun.checkpoint_name(f.subscription, f.partition), f.transaction_id, f.global_id, clock_timestamp()
              FROM fenced f
            ON CONFLICT (name) DO UPDATE SET transaction_id = excluded.transaction_id, global_id = excluded.global_id,
                date_updated = excluded.date_updated
        )
        SELECT f.subscription, f.partition, f.epoch FROM fenced f
        $sql$, orisun.find_boundary_table(p_boundary, '_projector_checkpoint'))
      USING p_boundary, p_subscriptions, p_partitions, p_epochs, p_transaction_ids, p_global_ids, p_acknowledged,
            p_oldest, p_number;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.save_checkpoints(text, text[], integer[], bigint[], bigint[], bigint[], text[],
    bigint[], bigint) IS
$$Stores checkpoints of partitions and what is acknowledged beyond them, and returns the partitions that were stored:
one with an old epoch, or a higher p_number, is not. p_acknowledged are arrays as text; p_oldest -1 is none.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.subscription_checkpoints(p_boundary text, p_subscriptions text[])
RETURNS TABLE (subscription text, transaction_id bigint, global_id bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT DISTINCT ON (p.subscription) p.subscription, coalesce(c.transaction_id, -1), coalesce(c.global_id, -1)
          FROM orisun.subscription_partition p
          LEFT JOIN %s c ON c.name = orisun.checkpoint_name(p.subscription, p.partition)
         WHERE p.boundary = $1 AND p.subscription = ANY ($2)
         ORDER BY p.subscription, coalesce(c.global_id, -1)
        $sql$, orisun.find_boundary_table(p_boundary, '_projector_checkpoint'))
      USING p_boundary, p_subscriptions;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.subscription_checkpoints(text, text[]) IS
$$The lowest checkpoint of each subscription. Unknown ones are missing.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_subscription_partitions(p_boundary text, p_name text)
RETURNS TABLE (subscription text, partition integer, epoch bigint, member text, transaction_id bigint, global_id bigint,
               lag_events bigint,
               lag_seconds double precision, oldest_transaction_id bigint, oldest_global_id bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        WITH at AS (
            SELECT p.subscription, p.partition, p.epoch, p.member, p.oldest,
                   coalesce(c.transaction_id, -1) AS transaction_id, coalesce(c.global_id, -1) AS global_id
              FROM orisun.subscription_partition p
              LEFT JOIN %1$s c ON c.name = orisun.checkpoint_name(p.subscription, p.partition)
             WHERE p.boundary = $1 AND ($2 = '' OR p.subscription = $2)
        ), behind AS (
            SELECT d.global_id, extract(epoch FROM clock_timestamp() - e.date_created)::double precision AS seconds
              FROM (SELECT DISTINCT a.global_id FROM at a) d
             CROSS JOIN LATERAL (SELECT e.date_created FROM %2$s e WHERE e.global_id > d.global_id ORDER BY e.global_id
                                  LIMIT 1) e
        )
        SELECT a.subscription, a.partition, a.epoch, coalesce(a.member::text, ''), a.transaction_id, a.global_id,
               greatest(l.global_id - a.global_id, 0), coalesce(greatest(b.seconds, 0), 0),
               coalesce(o.transaction_id, -1), coalesce(o.global_id, -1)
          FROM at a
         CROSS JOIN orisun.get_last_position($1) l
          LEFT JOIN behind b ON b.global_id = a.global_id
          LEFT JOIN %2$s o ON o.global_id = a.oldest
         ORDER BY a.subscription, a.partition
        $sql$, orisun.find_boundary_table(p_boundary, '_projector_checkpoint'),
        (orisun.find_boundary(p_boundary)).events)
      USING p_boundary, p_name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_subscription_partitions(text, text) IS
$$The partitions of a boundary's subscriptions, or of one, with their lag: the events after the checkpoint, whether they
match or not, and the age of the first one.$$;

-- +goose Down
DROP FUNCTION orisun.list_subscription_partitions(text, text);
DROP FUNCTION orisun.subscription_checkpoints(text, text[]);
DROP FUNCTION orisun.save_checkpoints(text, text[], integer[], bigint[], bigint[], bigint[], text[], bigint[], bigint);
DROP FUNCTION orisun.read_checkpoints(text, text, integer[]);
