-- name: PositionAt :one
SELECT * FROM orisun.position_at(p_boundary => @boundary::text, p_time => @time::timestamptz);

-- name: CreateSubscription :exec
SELECT orisun.create_subscription(
    p_boundary       => @boundary::text,
    p_name           => @name::text,
    p_criteria       => @criteria::jsonb,
    p_partition_key  => @partition_key::text,
    p_partitions     => @partitions::integer,
    p_ack_timeout_ms => @ack_timeout_ms::bigint,
    p_max_refusals   => @max_refusals::integer,
    p_park_following => @park_following::boolean,
    p_transaction_id => @transaction_id::bigint,
    p_global_id      => @global_id::bigint,
    p_limit          => @subscription_limit::integer,
    p_admin_boundary => @admin_boundary::text,
    p_actor          => @actor::text
);

-- name: ListSubscriptions :many
SELECT * FROM orisun.list_subscriptions(p_boundary => @boundary::text, p_name => @name::text);

-- name: ListSubscriptionPartitions :many
SELECT p.subscription::text AS subscription, p.partition::integer AS partition, p.epoch::bigint AS epoch,
       p.member::text AS member,
       p.transaction_id::bigint AS transaction_id, p.global_id::bigint AS global_id, p.lag_events::bigint AS lag_events,
       p.lag_seconds::double precision AS lag_seconds, p.oldest_transaction_id::bigint AS oldest_transaction_id,
       p.oldest_global_id::bigint AS oldest_global_id
  FROM orisun.list_subscription_partitions(p_boundary => @boundary::text, p_name => @name::text) p;

-- name: ListSubscribedBoundaries :many
SELECT orisun.list_subscribed_boundaries()::text AS boundary;

-- name: MeasureSubscriptionLag :many
SELECT p.subscription::text AS subscription, max(p.lag_events)::bigint AS events,
       max(p.lag_seconds)::double precision AS seconds, (count(*) OVER ())::bigint AS subscriptions
  FROM orisun.list_subscription_partitions(p_boundary => @boundary::text, p_name => '') p
 GROUP BY p.subscription
 ORDER BY seconds DESC, events DESC, subscription
 LIMIT @count;

-- name: ListSubscriptionMembers :many
SELECT m.subscription::text AS subscription, m.member::text AS member, m.name::text AS name, m.node::text AS node,
       m.address::text AS address,
       m.username::text AS username, m.connected_at::timestamptz AS connected_at
  FROM orisun.list_subscription_members(p_boundary => @boundary::text, p_name => @name::text) m;

-- name: CountParked :many
SELECT p.subscription::text AS subscription, p.parked::bigint AS parked
  FROM orisun.count_parked(p_boundary => @boundary::text, p_name => @name::text) p;

-- name: DeleteSubscription :exec
SELECT orisun.delete_subscription(p_boundary => @boundary::text, p_name => @name::text,
                                  p_admin_boundary => @admin_boundary::text, p_actor => @actor::text);

-- name: ResetSubscription :exec
SELECT orisun.reset_subscription(
    p_boundary       => @boundary::text,
    p_name           => @name::text,
    p_transaction_id => @transaction_id::bigint,
    p_global_id      => @global_id::bigint,
    p_admin_boundary => @admin_boundary::text,
    p_actor          => @actor::text
);

-- name: RenewSubscriptionNode :one
SELECT n.node::text AS node, n.changes::bigint AS changes, n.others::text[] AS others, n.renewals::bigint[] AS renewals,
       n.expired::boolean AS expired
  FROM orisun.renew_subscription_node(p_node => (@node::text)::uuid, p_next_node => (@next_node::text)::uuid,
                                      p_name => @name::text) n;

-- name: ExpireSubscriptionNodes :exec
SELECT orisun.expire_subscription_nodes(p_nodes => (@nodes::text[])::uuid[], p_renewals => @renewals::bigint[]);

-- name: RemoveSubscriptionNodes :exec
SELECT orisun.remove_subscription_nodes();

-- name: JoinSubscription :one
SELECT * FROM orisun.join_subscription(
    p_boundary     => @boundary::text,
    p_subscription => @subscription::text,
    p_member       => (@member::text)::uuid,
    p_node         => (@node::text)::uuid,
    p_name         => @name::text,
    p_address      => @address::text,
    p_username     => @username::text,
    p_limit        => @consumer_limit::integer
);

-- name: LeaveSubscription :exec
SELECT orisun.leave_subscription(p_boundary => @boundary::text, p_subscription => @subscription::text,
                                 p_member => (@member::text)::uuid);

-- name: ReleasePartitions :exec
SELECT orisun.release_partitions(p_boundary => @boundary::text, p_subscription => @subscription::text,
                                 p_member => (@member::text)::uuid,
                                 p_partitions => @partitions::integer[], p_epochs => @epochs::bigint[]);

-- name: HeldPartitions :many
SELECT h.boundary::text AS boundary, h.subscription::text AS subscription, h.member::text AS member,
       h.subscription_generation::text AS generation, h.partition::integer AS partition, h.epoch::bigint AS epoch,
       h.moving::boolean AS moving, h.replaying::boolean AS replaying
  FROM orisun.held_partitions(p_node => (@node::text)::uuid, p_boundary => @boundary::text,
                              p_subscription => @subscription::text) h;

-- name: ReadCheckpoints :many
SELECT c.partition::integer AS partition, c.transaction_id::bigint AS transaction_id, c.global_id::bigint AS global_id,
       c.acknowledged::bigint[] AS acknowledged, c.parked_keys::text[] AS parked_keys
  FROM orisun.read_checkpoints(p_boundary => @boundary::text, p_subscription => @subscription::text,
                               p_partitions => @partitions::integer[]) c;

-- name: SaveCheckpoints :many
SELECT c.subscription::text AS subscription, c.partition::integer AS partition, c.epoch::bigint AS epoch
  FROM orisun.save_checkpoints(
    p_boundary        => @boundary::text,
    p_subscriptions   => @subscriptions::text[],
    p_partitions      => @partitions::integer[],
    p_epochs          => @epochs::bigint[],
    p_transaction_ids => @transaction_ids::bigint[],
    p_global_ids      => @global_ids::bigint[],
    p_acknowledged    => @acknowledged::text[],
    p_oldest          => @oldest::bigint[],
    p_number          => @number::bigint
) c;

-- name: SubscriptionCheckpoints :many
SELECT c.subscription::text AS subscription, c.transaction_id::bigint AS transaction_id,
       c.global_id::bigint AS global_id
  FROM orisun.subscription_checkpoints(p_boundary => @boundary::text, p_subscriptions => @subscriptions::text[]) c;

-- name: ParkEvent :one
SELECT orisun.park_event(
    p_boundary     => @boundary::text,
    p_subscription => @subscription::text,
    p_partition    => @partition::integer,
    p_epoch        => @epoch::bigint,
    p_global_id    => @global_id::bigint,
    p_key          => @key::text,
    p_reason       => @reason::text,
    p_refusals     => @refusals::integer,
    p_limit        => @parked_limit::integer
)::text AS outcome;

-- name: SettleParked :one
SELECT orisun.settle_parked(
    p_boundary     => @boundary::text,
    p_subscription => @subscription::text,
    p_partition    => @partition::integer,
    p_epoch        => @epoch::bigint,
    p_global_id    => @global_id::bigint,
    p_key          => @key::text
)::text AS outcome;

-- name: ListParked :many
SELECT p.global_id::bigint AS global_id, p.transaction_id::bigint AS transaction_id,
       p.date_created::timestamptz AS date_created, p.event_id::text AS event_id,
       p.event_type::text AS event_type, p.data::jsonb AS data, p.metadata::jsonb AS metadata,
       p.partition::integer AS partition, p.key::text AS key,
       p.reason::text AS reason, p.refusals::integer AS refusals, p.parked_at::timestamptz AS parked_at,
       p.replaying::boolean AS replaying
  FROM orisun.list_parked(p_boundary => @boundary::text, p_subscription => @subscription::text,
                          p_partition => @partition::integer,
                          p_replaying => @replaying::boolean, p_after => @after::bigint, p_count => @count::integer) p;

-- name: ListReplays :many
SELECT p.global_id::bigint AS global_id, p.transaction_id::bigint AS transaction_id,
       p.date_created::timestamptz AS date_created, p.event_id::text AS event_id,
       p.event_type::text AS event_type, p.data::jsonb AS data, p.metadata::jsonb AS metadata
  FROM orisun.list_replays(p_boundary => @boundary::text, p_subscription => @subscription::text,
                           p_partition => @partition::integer, p_count => @count::integer, p_bytes => @bytes::bigint) p;

-- name: ReplayParked :one
SELECT orisun.replay_parked(p_boundary => @boundary::text, p_subscription => @subscription::text,
                            p_global_ids => @global_ids::bigint[])::bigint AS events;

-- name: SkipParked :one
SELECT orisun.skip_parked(p_boundary => @boundary::text, p_subscription => @subscription::text,
                          p_global_ids => @global_ids::bigint[])::bigint AS events;
