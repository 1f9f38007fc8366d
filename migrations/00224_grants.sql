-- +goose Up
-- The end of each release's migrations: boundaries that exist get the functions of this release.
SELECT orisun.clone_functions(b.name) FROM orisun.boundary b WHERE b.status = 'ACTIVE' ORDER BY b.name;

-- PostgreSQL lets everybody execute a new function. Here only the owner may, and roles that a DBA grants it to.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA orisun, orisun_boundary FROM PUBLIC;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
