-- +goose Up
-- Durable subscriptions: their tables, and how they are created, read, reset and deleted. How consumers share their
-- partitions is in 00219_consume.sql, what they have acknowledged in 00220_checkpoint.sql, and parked events are in
-- 00221_parked_event.sql.

CREATE TABLE orisun.subscription (
    boundary       text        NOT NULL REFERENCES orisun.boundary (name) ON DELETE CASCADE,
    name           text        NOT NULL,
    criteria       jsonb       NOT NULL,
    partition_key  text        NOT NULL,
    partitions     integer     NOT NULL,
    ack_timeout_ms bigint      NOT NULL,
    max_refusals   integer     NOT NULL,
    park_following boolean     NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation     uuid        NOT NULL DEFAULT gen_random_uuid(),
    PRIMARY KEY (boundary, name)
);

COMMENT ON TABLE orisun.subscription IS
$$The durable subscriptions. What each one has acknowledged is in {boundary}_projector_checkpoint, a row named
subscription/NAME/PARTITION for each partition, and in orisun.subscription_partition. A change of the holders of its
partitions locks its row first.$$;
COMMENT ON COLUMN orisun.subscription.criteria IS
$$As the API has them: [{"tags": [{"key": "account", "value": "alice"}]}].$$;
COMMENT ON COLUMN orisun.subscription.generation IS $$It changes with a reset, which ends all consumers.$$;

CREATE TABLE orisun.subscription_node (
    node     uuid    NOT NULL PRIMARY KEY,
    name     text    NOT NULL,
    renewals bigint  NOT NULL DEFAULT 0,
    changes  bigint  NOT NULL DEFAULT 0,
    expired  boolean NOT NULL DEFAULT false
);

COMMENT ON TABLE orisun.subscription_node IS
$$The nodes that have consumers. A node renews its row. Another one that has not seen renewals change for the lease
time, by its own clock, marks it as expired. An expired node is removed with its consumers, and comes back with another
id. changes grows whenever what its consumers hold changes.$$;

CREATE TABLE orisun.subscription_member (
    member       uuid        NOT NULL PRIMARY KEY,
    boundary     text        NOT NULL,
    subscription text        NOT NULL,
    node         uuid        NOT NULL REFERENCES orisun.subscription_node (node) ON DELETE CASCADE,
    name         text        NOT NULL,
    address      text        NOT NULL,
    username     text        NOT NULL,
    connected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (boundary, subscription) REFERENCES orisun.subscription (boundary, name) ON DELETE CASCADE
);

CREATE INDEX subscription_member_group_idx ON orisun.subscription_member (boundary, subscription);
CREATE INDEX subscription_member_node_idx ON orisun.subscription_member (node);

COMMENT ON TABLE orisun.subscription_member IS $$The consumers: a row for each stream.$$;

CREATE TABLE orisun.subscription_partition (
    boundary     text     NOT NULL,
    subscription text     NOT NULL,
    partition    integer  NOT NULL,
    epoch        bigint   NOT NULL DEFAULT 0,
    member       uuid,
    next_member  uuid,
    acknowledged bigint[] NOT NULL DEFAULT '{}',
    oldest       bigint,
    saved_epoch  bigint   NOT NULL DEFAULT 0,
    saved        bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (boundary, subscription, partition),
    FOREIGN KEY (boundary, subscription) REFERENCES orisun.subscription (boundary, name) ON DELETE CASCADE
) WITH (fillfactor = 50);

CREATE INDEX subscription_partition_member_idx ON orisun.subscription_partition (member);

COMMENT ON TABLE orisun.subscription_partition IS
$$Which consumer holds a partition, and what of it is acknowledged beyond its checkpoint. epoch grows with each change
of the holder: a write with an older one is refused. next_member waits until the holder has released it.$$;
COMMENT ON COLUMN orisun.subscription_partition.acknowledged IS
$$The global_ids of acknowledged events after the checkpoint.$$;
COMMENT ON COLUMN orisun.subscription_partition.saved IS
$$The holder's number of the last write of the checkpoint, in saved_epoch: a write that was held back on its way, and
comes after a later one, is refused.$$;
COMMENT ON COLUMN orisun.subscription_partition.oldest IS
$$The global_id of the first event that is delivered and not acknowledged.$$;

CREATE TABLE orisun.parked_event (
    boundary     text        NOT NULL,
    subscription text        NOT NULL,
    global_id    bigint      NOT NULL,
    partition    integer     NOT NULL,
    key          text        NOT NULL,
    reason       text        NOT NULL,
    refusals     integer     NOT NULL,
    parked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    replaying    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (boundary, subscription, global_id),
    FOREIGN KEY (boundary, subscription) REFERENCES orisun.subscription (boundary, name) ON DELETE CASCADE
);

COMMENT ON TABLE orisun.parked_event IS
$$Events that a subscription passed by. The event itself stays in its boundary's table.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_subscription(p_boundary text, p_name text) RETURNS orisun.subscription
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_found orisun.subscription;
BEGIN
    SELECT s.* INTO v_found FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_name;
    IF NOT FOUND THEN
        PERFORM orisun.find_boundary(p_boundary);
        RAISE EXCEPTION 'boundary "%" has no subscription %', p_boundary, coalesce(quote_literal(p_name), 'NULL')
            USING ERRCODE = 'OR040',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'subscription', p_name)::text,
                  HINT = 'SELECT * FROM orisun.subscription lists those that there are.';
    END IF;
    RETURN v_found;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_subscription(text, text) IS
$$One subscription. Raises OR040 if there is none of this name, OR001 for an unknown boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_subscriptions(p_boundary text, p_name text) RETURNS SETOF orisun.subscription
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_name <> '' THEN
        RETURN NEXT orisun.find_subscription(p_boundary, p_name);
        RETURN;
    END IF;
    PERFORM orisun.find_boundary(p_boundary);
    RETURN QUERY SELECT s.* FROM orisun.subscription s WHERE s.boundary = p_boundary ORDER BY s.name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_subscriptions(text, text) IS
$$The subscriptions of a boundary by name, or the one of a name. Raises OR001, and OR040 for an unknown name.$$;

CREATE FUNCTION orisun.list_subscribed_boundaries() RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT b.name FROM orisun.boundary b
     WHERE b.status = 'ACTIVE' AND EXISTS (SELECT FROM orisun.subscription s WHERE s.boundary = b.name)
     ORDER BY b.name
$$;

COMMENT ON FUNCTION orisun.list_subscribed_boundaries() IS
$$The boundaries that have durable subscriptions.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.lock_subscription(p_boundary text, p_name text) RETURNS orisun.subscription
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_name FOR NO KEY UPDATE;
    RETURN orisun.find_subscription(p_boundary, p_name);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_subscription(text, text) IS
$$Locks a subscription until the transaction ends: its partitions do not change hands meanwhile. Raises OR040.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.lock_partitions(p_boundary text, p_subscription text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM orisun.subscription_partition p WHERE p.boundary = p_boundary AND p.subscription = p_subscription
      ORDER BY p.partition FOR NO KEY UPDATE;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_partitions(text, text) IS
$$Locks the partitions of a locked subscription before several of them change, in the order in which
orisun.save_checkpoints locks them.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.notify_nodes(p_nodes uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In one order, so that two sessions do not wait for each other.
    PERFORM FROM orisun.subscription_node n WHERE n.node = ANY (p_nodes) ORDER BY n.node FOR NO KEY UPDATE;
    UPDATE orisun.subscription_node n SET changes = n.changes + 1 WHERE n.node = ANY (p_nodes);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.notify_nodes(uuid[]) IS
$$Lets nodes read again what their consumers hold, within a second. It is the last thing that a transaction locks.$$;

CREATE FUNCTION orisun.consumer_nodes(p_boundary text, p_subscription text) RETURNS uuid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT m.node), '{}') FROM orisun.subscription_member m
     WHERE m.boundary = p_boundary AND m.subscription = p_subscription
$$;

COMMENT ON FUNCTION orisun.consumer_nodes(text, text) IS
$$The nodes that have consumers of a subscription, for orisun.notify_nodes.$$;

CREATE FUNCTION orisun.checkpoint_name(p_subscription text, p_partition integer) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$ SELECT 'subscription/' || p_subscription || '/' || p_partition $$;

COMMENT ON FUNCTION orisun.checkpoint_name(text, integer) IS
$$The name of a partition's row in {boundary}_projector_checkpoint.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.move_checkpoints(p_subscription orisun.subscription, p_transaction_id bigint, p_global_id bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %s AS c (name, transaction_id, global_id, date_updated)
        SELECT orisun.checkpoint_name($1, n), $3, $4, clock_timestamp() FROM generate_series(0, $2 - 1) n
        ON CONFLICT (name) DO UPDATE SET transaction_id = excluded.transaction_id, global_id = excluded.global_id,
            date_updated = excluded.date_updated
        $sql$, orisun.find_boundary_table(p_subscription.boundary, '_projector_checkpoint'))
      USING p_subscription.name, p_subscription.partitions, p_transaction_id, p_global_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.move_checkpoints(orisun.subscription, bigint, bigint) IS
$$Moves all checkpoints of a subscription to a position.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.log_subscription(p_subscription orisun.subscription, p_type text, p_data jsonb,
                                        p_admin_boundary text, p_actor text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.insert_events_with_consistency(p_admin_boundary, '{}', jsonb_build_array(
        orisun.make_admin_event(p_type, jsonb_build_object(
            'boundary', p_subscription.boundary, 'subscription', p_subscription.name) || p_data, p_actor)));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.log_subscription(orisun.subscription, text, jsonb, text, text) IS
$$Saves an event about a subscription in the admin boundary, with the actor.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.create_subscription(
    p_boundary text, p_name text, p_criteria jsonb, p_partition_key text, p_partitions integer, p_ack_timeout_ms bigint,
    p_max_refusals integer,
    p_park_following boolean, p_transaction_id bigint, p_global_id bigint, p_limit integer, p_admin_boundary text,
    p_actor text
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_subscription orisun.subscription;
BEGIN
    PERFORM FROM orisun.boundary b WHERE b.name = p_boundary FOR NO KEY UPDATE;
    PERFORM orisun.find_boundary(p_boundary);
    SELECT s.* INTO v_subscription FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_name;
    IF FOUND THEN
        IF (v_subscription.criteria, v_subscription.partition_key, v_subscription.partitions,
            v_subscription.ack_timeout_ms,
            v_subscription.max_refusals, v_subscription.park_following)
           = (p_criteria, p_partition_key, p_partitions, p_ack_timeout_ms, p_max_refusals, p_park_following) THEN
            RETURN;
        END IF;
        RAISE EXCEPTION 'subscription "%" of boundary "%" exists already with another definition', p_name, p_boundary
            USING ERRCODE = 'OR041',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'subscription', p_name)::text,
                  HINT = 'A subscription does not change: delete it, or choose another name.';
    END IF;
    IF (SELECT count(*) FROM orisun.subscription s WHERE s.boundary = p_boundary) >= p_limit THEN
        RAISE EXCEPTION 'boundary "%" has % subscriptions, no more are created (ORISUN_MAX_SUBSCRIPTIONS)', p_boundary,
            p_limit
            USING ERRCODE = 'OR042',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'limit', p_limit)::text,
                  HINT = 'Delete those that are not used, or raise the limit.';
    END IF;
    INSERT INTO orisun.subscription (boundary, name, criteria, partition_key, partitions, ack_timeout_ms, max_refusals,
                                     park_following)
    VALUES (p_boundary, p_name, p_criteria, p_partition_key, p_partitions, p_ack_timeout_ms, p_max_refusals,
            p_park_following)
    RETURNING * INTO v_subscription;
    INSERT INTO orisun.subscription_partition (boundary, subscription, partition)
    SELECT p_boundary, p_name, n FROM generate_series(0, p_partitions - 1) n;
    PERFORM orisun.move_checkpoints(v_subscription, p_transaction_id, p_global_id);
    PERFORM orisun.log_subscription(v_subscription, 'SubscriptionCreated', jsonb_build_object(
        'criteria', p_criteria, 'partition_key', p_partition_key, 'partitions', p_partitions, 'after_global_id',
        p_global_id), p_admin_boundary, p_actor);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_subscription(text, text, jsonb, text, integer, bigint, integer, boolean, bigint,
    bigint, integer, text, text) IS
$$Creates a subscription that begins after a position, and saves SubscriptionCreated with the actor in the admin
boundary. The same definition again changes nothing. Raises OR001 for an unknown boundary, OR041 for a name with another
definition, OR042 beyond p_limit subscriptions of the boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.delete_subscription(p_boundary text, p_name text, p_admin_boundary text, p_actor text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_subscription orisun.subscription;
    v_nodes        uuid[];
BEGIN
    -- As the deletion does, before the partitions: orisun.park_event locks it before its partition, too.
    PERFORM FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_name FOR UPDATE;
    v_subscription := orisun.find_subscription(p_boundary, p_name);
    PERFORM orisun.lock_partitions(p_boundary, p_name);
    v_nodes := orisun.consumer_nodes(p_boundary, p_name);
    DELETE FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_name;
    EXECUTE format('DELETE FROM %s c WHERE c.name IN (SELECT orisun.checkpoint_name($1, n) FROM '
                   'generate_series(0, $2 - 1) n)',
                   orisun.find_boundary_table(p_boundary, '_projector_checkpoint')) USING p_name,
                   v_subscription.partitions;
    PERFORM orisun.log_subscription(v_subscription, 'SubscriptionDeleted', '{}', p_admin_boundary, p_actor);
    PERFORM orisun.notify_nodes(v_nodes);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.delete_subscription(text, text, text, text) IS
$$Deletes a subscription with its checkpoints and parked events, and saves SubscriptionDeleted with the actor in the
admin boundary. Its consumers end within a second. Raises OR040 for an unknown subscription.

  SELECT orisun.delete_subscription('orders', 'mails', 'orisun_admin', current_user)$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.reset_subscription(p_boundary text, p_name text, p_transaction_id bigint, p_global_id bigint,
                                          p_admin_boundary text, p_actor text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_subscription orisun.subscription := orisun.lock_subscription(p_boundary, p_name);
    v_nodes        uuid[] := orisun.consumer_nodes(p_boundary, p_name);
BEGIN
    PERFORM orisun.lock_partitions(p_boundary, p_name);
    UPDATE orisun.subscription s SET generation = gen_random_uuid() WHERE s.boundary = p_boundary AND s.name = p_name;
    UPDATE orisun.subscription_partition p
       SET epoch = p.epoch + 1, member = NULL, next_member = NULL, acknowledged = '{}', oldest = NULL
     WHERE p.boundary = p_boundary AND p.subscription = p_name;
    DELETE FROM orisun.subscription_member m WHERE m.boundary = p_boundary AND m.subscription = p_name;
    DELETE FROM orisun.parked_event e WHERE e.boundary = p_boundary AND e.subscription = p_name
       AND e.global_id > p_global_id;
    PERFORM orisun.move_checkpoints(v_subscription, p_transaction_id, p_global_id);
    PERFORM orisun.log_subscription(v_subscription, 'SubscriptionReset',
                                    jsonb_build_object('after_global_id', p_global_id), p_admin_boundary, p_actor);
    PERFORM orisun.notify_nodes(v_nodes);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.reset_subscription(text, text, bigint, bigint, text, text) IS
$$Moves a subscription to a position, and saves SubscriptionReset with the actor in the admin boundary. Its consumers
end within a second, and what they acknowledge after this is refused. Events parked after the position are no longer
parked. Raises OR040 for an unknown subscription.

  SELECT orisun.reset_subscription('orders', 'mails', -1, -1, 'orisun_admin', current_user)$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.position_at(p_boundary text, p_time timestamptz) RETURNS SETOF orisun.event_position
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events regclass := (orisun.find_boundary(p_boundary)).events;
    v_low    bigint;
    v_high   bigint;
    v_middle record;
BEGIN
    -- The first event at p_time or later is after v_low - 1 and not after v_high.
    EXECUTE format('SELECT coalesce(min(e.global_id), 0), coalesce(max(e.global_id), -1) + 1 FROM %s e', v_events)
        INTO v_low, v_high;
    WHILE v_low < v_high LOOP
        EXECUTE format('SELECT e.global_id, e.date_created FROM %s e WHERE e.global_id >= $1 ORDER BY e.global_id '
                       'LIMIT 1', v_events)
           INTO v_middle USING v_low + (v_high - v_low) / 2;
        IF v_middle.global_id IS NULL OR v_middle.global_id >= v_high OR v_middle.date_created >= p_time THEN
            v_high := v_low + (v_high - v_low) / 2;
        ELSE
            v_low := v_middle.global_id + 1;
        END IF;
    END LOOP;
    RETURN QUERY EXECUTE format('SELECT e.transaction_id, e.global_id FROM %s e WHERE e.global_id < $1 '
                                'ORDER BY e.global_id DESC LIMIT 1', v_events) USING v_low;
    IF NOT FOUND THEN
        RETURN QUERY SELECT -1::bigint, -1::bigint;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.position_at(text, timestamptz) IS
$$The position of the last event before a time, (-1,-1) if there is none: what lies after it was saved at that time or
later. It is a binary search over the primary key: positions are in the order of commits, and times nearly so, since an
event gets its time within the save. Raises OR001 for an unknown boundary.

  SELECT * FROM orisun.position_at('orders', now() - interval '1 day')$$;

-- +goose Down
DROP FUNCTION orisun.position_at(text, timestamptz);
DROP FUNCTION orisun.reset_subscription(text, text, bigint, bigint, text, text);
DROP FUNCTION orisun.delete_subscription(text, text, text, text);
DROP FUNCTION orisun.create_subscription(text, text, jsonb, text, integer, bigint, integer, boolean, bigint, bigint,
                                         integer, text, text);
DROP FUNCTION orisun.log_subscription(orisun.subscription, text, jsonb, text, text);
DROP FUNCTION orisun.move_checkpoints(orisun.subscription, bigint, bigint);
DROP FUNCTION orisun.checkpoint_name(text, integer);
DROP FUNCTION orisun.consumer_nodes(text, text);
DROP FUNCTION orisun.notify_nodes(uuid[]);
DROP FUNCTION orisun.lock_partitions(text, text);
DROP FUNCTION orisun.lock_subscription(text, text);
DROP FUNCTION orisun.list_subscribed_boundaries();
DROP FUNCTION orisun.list_subscriptions(text, text);
DROP FUNCTION orisun.find_subscription(text, text);
DROP TABLE orisun.parked_event;
DROP TABLE orisun.subscription_partition;
DROP TABLE orisun.subscription_member;
DROP TABLE orisun.subscription_node;
DROP TABLE orisun.subscription;
