-- +goose Up
CREATE TABLE orisun.boundary_index (
    boundary            text        NOT NULL REFERENCES orisun.boundary (name),
    name                text        NOT NULL,
    field_keys          text[]      NOT NULL,
    field_types         text[]      NOT NULL,
    field_expressions   text[]      NOT NULL,
    condition_keys      text[]      NOT NULL,
    condition_operators text[]      NOT NULL,
    condition_values    text[]      NOT NULL,
    combinator          text        NOT NULL CHECK (combinator IN ('AND', 'OR')),
    relation            text        NOT NULL UNIQUE,
    depends_on_values   boolean     NOT NULL,
    condition           text,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (boundary, name)
);

COMMENT ON TABLE orisun.boundary_index IS $$The definitions of the indexes of all boundaries. Rows come from orisun.create_index; which of them are ready, orisun.list_indexes tells.
A row counts only while its index exists and is valid, so an index dropped by hand slows questions down and breaks none.$$;
COMMENT ON COLUMN orisun.boundary_index.field_keys IS $$event_type stands for the event's type, whichever of its two names was used.$$;
COMMENT ON COLUMN orisun.boundary_index.field_types IS $$One a field: TEXT, NUMERIC, BOOLEAN or TIMESTAMPTZ.$$;
COMMENT ON COLUMN orisun.boundary_index.field_expressions IS $$One a field: what the index keeps of it, as SQL over an event called e.$$;
COMMENT ON COLUMN orisun.boundary_index.relation IS $$The index's qualified name, quoted where it has to be.$$;
COMMENT ON COLUMN orisun.boundary_index.depends_on_values IS $$Whether the index serves some values of a criterion only: a field is typed, or there are conditions.$$;
COMMENT ON COLUMN orisun.boundary_index.condition IS $$The conditions as SQL over an event called e. Beside a criterion that fulfils them it changes nothing, and lets the
planner see that the partial index may be used.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.boundary_index;
