-- +goose Up
-- PostgreSQL lets everybody execute a new function. Here only the owner may, and roles that a DBA grants it to.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA orisun FROM PUBLIC;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
