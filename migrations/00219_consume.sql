-- +goose Up
-- The lease of a node that has consumers, and which consumer holds which partition. service/consumer calls these.

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
        PERFORM orisun.lock_partitions(v_group.boundary, v_group.subscription);
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
    PERFORM orisun.lock_partitions(p_boundary, p_subscription);
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
    PERFORM orisun.lock_partitions(p_boundary, p_subscription);
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
    PERFORM orisun.lock_partitions(p_boundary, p_subscription);
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

-- +goose Down
DROP FUNCTION orisun.list_subscription_members(text, text);
DROP FUNCTION orisun.held_partitions(uuid, text, text);
DROP FUNCTION orisun.assign_partitions(text, text);
DROP FUNCTION orisun.release_partitions(text, text, uuid, integer[], bigint[]);
DROP FUNCTION orisun.leave_subscription(text, text, uuid);
DROP FUNCTION orisun.join_subscription(text, text, uuid, uuid, text, text, text, integer);
DROP FUNCTION orisun.remove_subscription_nodes();
DROP FUNCTION orisun.expire_subscription_nodes(uuid[], bigint[]);
DROP FUNCTION orisun.renew_subscription_node(uuid, uuid, text);
