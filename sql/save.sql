-- name: SaveRequests :many
SELECT * FROM orisun.save_requests(
    p_boundary                 => @boundary::text,
    p_expected_transaction_ids => @expected_transaction_ids::bigint[],
    p_expected_global_ids      => @expected_global_ids::bigint[],
    p_criterion_requests       => @criterion_requests::integer[],
    p_tag_criteria             => @tag_criteria::integer[],
    p_tag_keys                 => @tag_keys::text[],
    p_tag_values               => @tag_values::text[],
    p_event_requests           => @event_requests::integer[],
    p_event_ids                => @event_ids::text[],
    p_event_types              => @event_types::text[],
    p_data                     => @data::jsonb[],
    p_metadata                 => @metadata::jsonb[]
);

-- name: SavingFunctions :one
SELECT orisun.saving_function(p_boundary => @boundary::text, p_of => 'requests')::text AS requests,
       orisun.saving_function(p_boundary => @boundary::text, p_of => 'plain')::text AS plain;
