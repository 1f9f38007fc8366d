-- +goose Up
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

CREATE FUNCTION orisun.checkpoint_name(p_subscription text, p_partition integer) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$ SELECT 'subscription/' || p_subscription || '/' || p_partition $$;

COMMENT ON FUNCTION orisun.checkpoint_name(text, integer) IS
$$The name of a partition's row in {boundary}_projector_checkpoint.$$;

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
    PERFORM orisun.insert_events_with_consistency(p_admin_boundary, '{}', jsonb_build_array(jsonb_build_object(
        'event_id', gen_random_uuid(), 'event_type', p_type, 'metadata', jsonb_build_object('actor', p_actor),
        'data', jsonb_build_object('boundary', p_subscription.boundary, 'subscription', p_subscription.name)
            || p_data)));
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
    PERFORM orisun.find_boundary(p_boundary);
    PERFORM FROM orisun.boundary b WHERE b.name = p_boundary FOR NO KEY UPDATE;
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
    v_subscription orisun.subscription := orisun.lock_subscription(p_boundary, p_name);
BEGIN
    PERFORM orisun.notify_nodes(ARRAY(SELECT m.node FROM orisun.subscription_member m WHERE m.boundary = p_boundary
                                         AND m.subscription = p_name));
    DELETE FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_name;
    EXECUTE format('DELETE FROM %s c WHERE c.name IN (SELECT orisun.checkpoint_name($1, n) FROM '
                   'generate_series(0, $2 - 1) n)',
                   orisun.find_boundary_table(p_boundary, '_projector_checkpoint')) USING p_name,
                   v_subscription.partitions;
    PERFORM orisun.log_subscription(v_subscription, 'SubscriptionDeleted', '{}', p_admin_boundary, p_actor);
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
BEGIN
    UPDATE orisun.subscription s SET generation = gen_random_uuid() WHERE s.boundary = p_boundary AND s.name = p_name;
    UPDATE orisun.subscription_partition p
       SET epoch = p.epoch + 1, member = NULL, next_member = NULL, acknowledged = '{}', oldest = NULL
     WHERE p.boundary = p_boundary AND p.subscription = p_name;
    PERFORM orisun.notify_nodes(ARRAY(SELECT m.node FROM orisun.subscription_member m WHERE m.boundary = p_boundary
                                         AND m.subscription = p_name));
    DELETE FROM orisun.subscription_member m WHERE m.boundary = p_boundary AND m.subscription = p_name;
    DELETE FROM orisun.parked_event e WHERE e.boundary = p_boundary AND e.subscription = p_name
       AND e.global_id > p_global_id;
    PERFORM orisun.move_checkpoints(v_subscription, p_transaction_id, p_global_id);
    PERFORM orisun.log_subscription(v_subscription, 'SubscriptionReset',
                                    jsonb_build_object('after_global_id', p_global_id), p_admin_boundary, p_actor);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.reset_subscription(text, text, bigint, bigint, text, text) IS
$$Moves a subscription to a position, and saves SubscriptionReset with the actor in the admin boundary. Its consumers
end within a second, and what they acknowledge after this is refused. Events parked after the position are no longer
parked. Raises OR040 for an unknown subscription.

  SELECT orisun.reset_subscription('orders', 'mails', -1, -1, 'orisun_admin', current_user)$$;

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

-- +goose StatementBegin
CREATE FUNCTION orisun.assign_partitions(p_boundary text, p_subscription text) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_nodes uuid[];
BEGIN
    WITH alive AS (
        SELECT m.member, m.node, m.connected_at FROM orisun.subscription_member m
         WHERE m.boundary = p_boundary AND m.subscription = p_subscription
    ), held AS (
        -- A partition belongs to the consumer that it moves to, or that has it.
        SELECT p.partition, p.member, p.next_member, p.epoch, a.member AS owner, h.node AS holder_node
          FROM orisun.subscription_partition p
          LEFT JOIN alive h ON h.member = p.member
          LEFT JOIN alive n ON n.member = p.next_member
          LEFT JOIN alive a ON a.member = coalesce(n.member, h.member)
         WHERE p.boundary = p_boundary AND p.subscription = p_subscription
    ), shares AS (
        -- The consumers that have most get one more, where partitions do not divide evenly: the fewest move.
        SELECT a.member, a.node,
               s.partitions / s.members + CASE WHEN row_number() OVER (ORDER BY a.holds DESC, a.connected_at,
                   a.member) <= s.partitions % s.members THEN 1 ELSE 0 END AS share
          FROM (SELECT a.*, (SELECT count(*) FROM held h WHERE h.owner = a.member) AS holds FROM alive a) a
         CROSS JOIN (SELECT (SELECT count(*) FROM held) AS partitions, (SELECT count(*) FROM alive) AS members) s
    ), staying AS (
        SELECT h.partition, h.owner
          FROM (SELECT h.partition, h.owner, row_number() OVER (PARTITION BY h.owner
              ORDER BY (h.member = h.owner) DESC, h.partition) AS number
                  FROM held h WHERE h.owner IS NOT NULL) h
          JOIN shares s ON s.member = h.owner
         WHERE h.number <= s.share
    ), seats AS (
        SELECT s.member, row_number() OVER (ORDER BY s.member, n) AS number
          FROM shares s
         CROSS JOIN LATERAL generate_series(1, s.share - (SELECT count(*) FROM staying k WHERE k.owner = s.member)) n
    ), placed AS (
        SELECT k.partition, k.owner FROM staying k
         UNION ALL
        SELECT f.partition, s.member
          FROM (SELECT h.partition, row_number() OVER (ORDER BY h.partition) AS number
                  FROM held h WHERE NOT EXISTS (SELECT FROM staying k WHERE k.partition = h.partition)) f
          JOIN seats s ON s.number = f.number
    ), wanted AS (
        SELECT h.partition, h.holder_node,
               CASE WHEN h.holder_node IS NULL THEN d.owner ELSE h.member END AS member,
               CASE WHEN h.holder_node IS NULL OR h.member = d.owner THEN NULL ELSE d.owner END AS next_member
          FROM held h
          LEFT JOIN placed d ON d.partition = h.partition
    ), changed AS (
        UPDATE orisun.subscription_partition p
           SET epoch = p.epoch + CASE WHEN p.member IS DISTINCT FROM w.member THEN 1 ELSE 0 END, member = w.member,
               next_member = w.next_member,
               oldest = CASE WHEN p.member IS DISTINCT FROM w.member THEN NULL ELSE p.oldest END
          FROM wanted w
         WHERE p.boundary = p_boundary AND p.subscription = p_subscription AND p.partition = w.partition
           AND (p.member IS DISTINCT FROM w.member OR p.next_member IS DISTINCT FROM w.next_member)
        RETURNING p.member, w.holder_node
    )
    SELECT array_agg(DISTINCT n.node) INTO v_nodes
      FROM changed c
     CROSS JOIN LATERAL (SELECT c.holder_node UNION SELECT a.node FROM alive a WHERE a.member = c.member) AS n(node)
     WHERE n.node IS NOT NULL;
    RETURN coalesce(v_nodes, '{}');
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.assign_partitions(text, text) IS
$$Divides the partitions of a locked subscription evenly among its consumers, with few moves, and returns the nodes that
are to be notified. A partition without a holder, or whose holder is gone, gets one at once, in a new epoch. One whose
holder lives moves when that has released it.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.renew_subscription_node(p_node uuid, p_next_node uuid, p_name text)
RETURNS TABLE (node uuid, changes bigint, others uuid[], renewals bigint[], expired boolean)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE orisun.subscription_node n SET renewals = n.renewals + 1 WHERE n.node = p_node AND NOT n.expired
    RETURNING n.node, n.changes INTO renew_subscription_node.node, renew_subscription_node.changes;
    IF NOT FOUND THEN
        INSERT INTO orisun.subscription_node (node, name) VALUES (p_next_node, p_name);
        node := p_next_node;
        changes := 0;
    END IF;
    SELECT coalesce(array_agg(n.node ORDER BY n.node), '{}'), coalesce(array_agg(n.renewals ORDER BY n.node), '{}'),
           coalesce(bool_or(n.expired), false)
      INTO others, renew_subscription_node.renewals, renew_subscription_node.expired
      FROM orisun.subscription_node n WHERE n.node <> renew_subscription_node.node;
    RETURN NEXT;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.renew_subscription_node(uuid, uuid, text) IS
$$Renews the lease of a node, and returns the other nodes with their numbers of renewals. A node that is unknown or
expired becomes p_next_node, and lets its consumers join again. expired: some node is to be removed.$$;

CREATE FUNCTION orisun.expire_subscription_nodes(p_nodes uuid[], p_renewals bigint[]) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE orisun.subscription_node n SET expired = true
     WHERE n.node IN (SELECT g.node FROM unnest(p_nodes, p_renewals) AS g(node, renewals) WHERE g.node = n.node
                         AND g.renewals = n.renewals)
$$;

COMMENT ON FUNCTION orisun.expire_subscription_nodes(uuid[], bigint[]) IS
$$Marks nodes that have not renewed their leases: their numbers of renewals are still these. It is a transaction of its
own, since the removal locks subscriptions before nodes.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.remove_subscription_nodes() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_group record;
    v_nodes uuid[] := '{}';
BEGIN
    FOR v_group IN
        SELECT DISTINCT m.boundary, m.subscription
          FROM orisun.subscription_member m JOIN orisun.subscription_node n ON n.node = m.node
         WHERE n.expired ORDER BY 1, 2
    LOOP
        PERFORM FROM orisun.subscription s WHERE s.boundary = v_group.boundary
            AND s.name = v_group.subscription FOR NO KEY UPDATE;
        DELETE FROM orisun.subscription_member m
         WHERE m.boundary = v_group.boundary AND m.subscription = v_group.subscription
           AND m.node IN (SELECT n.node FROM orisun.subscription_node n WHERE n.expired);
        v_nodes := v_nodes || orisun.assign_partitions(v_group.boundary, v_group.subscription);
    END LOOP;
    DELETE FROM orisun.subscription_node n
     WHERE n.expired AND NOT EXISTS (SELECT FROM orisun.subscription_member m WHERE m.node = n.node);
    PERFORM orisun.notify_nodes(v_nodes);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.remove_subscription_nodes() IS
$$Removes the expired nodes, and gives the partitions of their consumers to others.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.join_subscription(p_boundary text, p_subscription text, p_member uuid, p_node uuid, p_name text,
                                         p_address text, p_username text, p_limit integer)
RETURNS orisun.subscription
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_subscription orisun.subscription := orisun.lock_subscription(p_boundary, p_subscription);
BEGIN
    IF (SELECT count(*) FROM orisun.subscription_member m WHERE m.boundary = p_boundary
           AND m.subscription = p_subscription AND m.member <> p_member) >= p_limit THEN
        RAISE EXCEPTION 'subscription "%" of boundary "%" has % consumers, no more are taken (ORISUN_MAX_CONSUMERS)',
            p_subscription, p_boundary, p_limit
            USING ERRCODE = 'OR043',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'subscription', p_subscription,
                                              'limit', p_limit)::text,
                  HINT = 'End some, or raise the limit. Those beyond the number of partitions are standbys.';
    END IF;
    INSERT INTO orisun.subscription_member (member, boundary, subscription, node, name, address, username)
    VALUES (p_member, p_boundary, p_subscription, p_node, p_name, p_address, p_username)
    ON CONFLICT (member) DO UPDATE SET node = excluded.node;
    -- A consumer that joins again, after its node's lease has ended, holds its partitions in a new epoch.
    UPDATE orisun.subscription_partition p SET epoch = p.epoch + 1, oldest = NULL WHERE p.member = p_member;
    PERFORM orisun.notify_nodes(orisun.assign_partitions(p_boundary, p_subscription) || p_node);
    RETURN v_subscription;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.join_subscription(text, text, uuid, uuid, text, text, text, integer) IS
$$A consumer joins its group. Raises OR040 for an unknown subscription, OR043 if it has p_limit other consumers.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.leave_subscription(p_boundary text, p_subscription text, p_member uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_subscription FOR NO KEY UPDATE;
    DELETE FROM orisun.subscription_member m WHERE m.member = p_member;
    PERFORM orisun.notify_nodes(orisun.assign_partitions(p_boundary, p_subscription));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.leave_subscription(text, text, uuid) IS
$$A consumer leaves its group. The others get its partitions.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.release_partitions(p_boundary text, p_subscription text, p_member uuid, p_partitions integer[],
                                          p_epochs bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_nodes uuid[];
BEGIN
    PERFORM FROM orisun.subscription s WHERE s.boundary = p_boundary AND s.name = p_subscription FOR NO KEY UPDATE;
    WITH released AS (
        UPDATE orisun.subscription_partition p SET epoch = p.epoch + 1, member = p.next_member, next_member = NULL,
            oldest = NULL
          FROM unnest(p_partitions, p_epochs) AS g(partition, epoch)
         WHERE p.boundary = p_boundary AND p.subscription = p_subscription AND p.member = p_member
           AND p.partition = g.partition AND p.epoch = g.epoch
        RETURNING p.member
    )
    SELECT array_agg(DISTINCT m.node) INTO v_nodes
      FROM orisun.subscription_member m WHERE m.member IN (SELECT r.member FROM released r) OR m.member = p_member;
    PERFORM orisun.notify_nodes(v_nodes || orisun.assign_partitions(p_boundary, p_subscription));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.release_partitions(text, text, uuid, integer[], bigint[]) IS
$$A consumer gives up partitions that are to move: those that wait for them get them, in a new epoch.$$;

CREATE FUNCTION orisun.held_partitions(p_node uuid, p_boundary text, p_subscription text)
RETURNS TABLE (boundary text, subscription text, member uuid, subscription_generation uuid, partition integer,
               epoch bigint, moving boolean, replaying boolean)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.boundary, m.subscription, m.member, s.generation, coalesce(p.partition, -1), coalesce(p.epoch, 0),
           p.next_member IS NOT NULL,
           EXISTS (SELECT FROM orisun.parked_event e
                    WHERE e.boundary = m.boundary AND e.subscription = m.subscription AND e.partition = p.partition
                      AND e.replaying)
      FROM orisun.subscription_member m
      JOIN orisun.subscription s ON s.boundary = m.boundary AND s.name = m.subscription
      LEFT JOIN orisun.subscription_partition p ON p.boundary = m.boundary AND p.subscription = m.subscription
        AND p.member = m.member
     WHERE m.node = p_node AND (p_subscription = '' OR (m.boundary = p_boundary AND m.subscription = p_subscription))
$$;

COMMENT ON FUNCTION orisun.held_partitions(uuid, text, text) IS
$$What the consumers of a node hold, of all subscriptions or of one; a consumer that holds nothing has a row with
partition -1. One that is missing was removed, with its subscription or by a reset. moving: to be released; replaying:
parked events wait to be delivered again.$$;

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
RETURNS TABLE (subscription text, partition integer)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        WITH given AS (
            SELECT * FROM unnest($2, $3, $4, $5, $6, $7, $8)
                       AS g(subscription, partition, epoch, transaction_id, global_id, acknowledged, oldest)
        ), fenced AS (
            UPDATE orisun.subscription_partition p
               SET acknowledged = g.acknowledged::bigint[], oldest = nullif(g.oldest, -1), saved_epoch = g.epoch,
                   saved = $9
              FROM given g
             WHERE p.boundary = $1 AND p.subscription = g.subscription AND p.partition = g.partition
               AND p.epoch = g.epoch
               AND (p.saved_epoch, p.saved) < (g.epoch, $9)
            RETURNING g.subscription, g.partition, g.transaction_id, g.global_id
        ), saved AS (
            INSERT INTO %s AS c (name, transaction_id, global_id, date_updated)
            SELECT orisun.checkpoint_name(f.subscription, f.partition), f.transaction_id, f.global_id, clock_timestamp()
              FROM fenced f
            ON CONFLICT (name) DO UPDATE SET transaction_id = excluded.transaction_id, global_id = excluded.global_id,
                date_updated = excluded.date_updated
        )
        SELECT f.subscription, f.partition FROM fenced f
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

CREATE FUNCTION orisun.list_subscription_members(p_boundary text, p_name text)
RETURNS TABLE (subscription text, member text, name text, node text, address text, username text,
               connected_at timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.subscription, m.member::text, m.name, n.name, m.address, m.username, m.connected_at
      FROM orisun.subscription_member m
      JOIN orisun.subscription_node n ON n.node = m.node
     WHERE m.boundary = p_boundary AND (p_name = '' OR m.subscription = p_name)
     ORDER BY m.subscription, m.connected_at, m.member
$$;

COMMENT ON FUNCTION orisun.list_subscription_members(text, text) IS
$$The consumers of a boundary's subscriptions, or of one.$$;

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
CREATE FUNCTION orisun.park_event(p_boundary text, p_subscription text, p_partition integer, p_epoch bigint,
                                  p_global_id bigint, p_key text, p_reason text,
                                  p_refusals integer, p_limit integer)
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
    PERFORM orisun.notify_nodes(ARRAY(SELECT m.node FROM orisun.subscription_member m WHERE m.boundary = p_boundary
                                         AND m.subscription = p_subscription));
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
    PERFORM orisun.notify_nodes(ARRAY(SELECT m.node FROM orisun.subscription_member m WHERE m.boundary = p_boundary
                                         AND m.subscription = p_subscription));
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
DROP FUNCTION orisun.list_parked(text, text, integer, boolean, bigint, integer);
DROP FUNCTION orisun.settle_parked(text, text, integer, bigint, bigint, text);
DROP FUNCTION orisun.park_event(text, text, integer, bigint, bigint, text, text, integer, integer);
DROP FUNCTION orisun.count_parked(text, text);
DROP FUNCTION orisun.list_subscription_members(text, text);
DROP FUNCTION orisun.list_subscribed_boundaries();
DROP FUNCTION orisun.list_subscription_partitions(text, text);
DROP FUNCTION orisun.subscription_checkpoints(text, text[]);
DROP FUNCTION orisun.save_checkpoints(text, text[], integer[], bigint[], bigint[], bigint[], text[], bigint[], bigint);
DROP FUNCTION orisun.read_checkpoints(text, text, integer[]);
DROP FUNCTION orisun.held_partitions(uuid, text, text);
DROP FUNCTION orisun.release_partitions(text, text, uuid, integer[], bigint[]);
DROP FUNCTION orisun.leave_subscription(text, text, uuid);
DROP FUNCTION orisun.join_subscription(text, text, uuid, uuid, text, text, text, integer);
DROP FUNCTION orisun.remove_subscription_nodes();
DROP FUNCTION orisun.expire_subscription_nodes(uuid[], bigint[]);
DROP FUNCTION orisun.renew_subscription_node(uuid, uuid, text);
DROP FUNCTION orisun.assign_partitions(text, text);
DROP FUNCTION orisun.notify_nodes(uuid[]);
DROP FUNCTION orisun.reset_subscription(text, text, bigint, bigint, text, text);
DROP FUNCTION orisun.delete_subscription(text, text, text, text);
DROP FUNCTION orisun.create_subscription(text, text, jsonb, text, integer, bigint, integer, boolean, bigint, bigint,
                                         integer, text, text);
DROP FUNCTION orisun.log_subscription(orisun.subscription, text, jsonb, text, text);
DROP FUNCTION orisun.move_checkpoints(orisun.subscription, bigint, bigint);
DROP FUNCTION orisun.list_subscriptions(text, text);
DROP FUNCTION orisun.lock_subscription(text, text);
DROP FUNCTION orisun.find_subscription(text, text);
DROP FUNCTION orisun.position_at(text, timestamptz);
DROP FUNCTION orisun.checkpoint_name(text, integer);
DROP TABLE orisun.parked_event;
DROP TABLE orisun.subscription_partition;
DROP TABLE orisun.subscription_member;
DROP TABLE orisun.subscription_node;
DROP TABLE orisun.subscription;
