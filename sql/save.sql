-- name: SaveRequests :many
SELECT * FROM orisun_boundary.save_requests(
    p_expected_transaction_ids => @expected_transaction_ids::bigint[],
    p_expected_global_ids      => @expected_global_ids::bigint[],
    p_criterion_requests       => @criterion_requests::integer[],
    p_criteria                 => @criteria::jsonb[],
    p_event_requests           => @event_requests::integer[],
    p_event_ids                => @event_ids::text[],
    p_event_types              => @event_types::text[],
    p_data                     => @data::jsonb[],
    p_metadata                 => @metadata::jsonb[]
);
