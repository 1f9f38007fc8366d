-- +goose Up
CREATE TABLE orisun.save_result (
    request        integer NOT NULL,
    outcome        text    NOT NULL,
    transaction_id bigint  NOT NULL,
    global_id      bigint  NOT NULL
);

COMMENT ON TABLE orisun.save_result IS $$The shape of what orisun.save_requests returns, one row a request, in request order. It holds no rows.

outcome is one of
  saved            stored now; the position is that of the save's last event
  repeated         stored before, by the same save; the position is the one it got then
  context_changed  nothing stored; the position is that of the latest event of the context after the expected one,
                   or (-1,-1) when the expected position is that of no stored event
  event_id_reused  nothing stored: an event_id is taken by another event; the position is that event's$$;

-- +goose Down
DROP TABLE orisun.save_result;
