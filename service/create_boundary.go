package service

import (
	"context"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// backendPostgres is the only backend that a placement can name.
const backendPostgres = "postgres"

// boundaryFailed is the status in orisun.boundary of a boundary without tables. There is no stored PROVISIONING: a
// boundary has that state only within the transaction that creates it, where other sessions cannot see it.
const boundaryFailed = "FAILED"

// CreateBoundary creates a boundary in a PostgreSQL schema, and the schema if it is missing. Every node saves to it and
// reads from it at once, and publishes it within two seconds. With existed_before_catalog it takes over the existing
// tables, events included. BoundaryDefined and BoundaryActivated or BoundaryFailed in the admin boundary's log name the
// caller. It is idempotent: a retry with the same definition returns the existing boundary.
//
// Errors: INVALID_ARGUMENT with field paths, ALREADY_EXISTS for a name that has another definition, UNAVAILABLE.
// FAILED_PRECONDITION (BOUNDARY_FAILED) means that PostgreSQL cannot create the tables, or cannot take over the
// existing ones. GetBoundary then returns the reason, and the name may be defined again.
func (a *Admin) CreateBoundary(
	ctx context.Context, in *orisunpb.CreateBoundaryRequest,
) (*orisunpb.CreateBoundaryResponse, error) {
	if err := checkBoundary(in); err != nil {
		return nil, err
	}
	config := a.store.config
	caller, _ := auth.FromContext(ctx)
	before, lookup := a.store.queries.GetBoundary(ctx, config.Read, in.GetName())
	row, err := a.store.queries.CreateBoundary(ctx, config.Write, db.CreateBoundaryParams{
		Boundary: in.GetName(), Schema: in.GetPlacement().GetNamespace(), Description: in.GetDescription(),
		ExistedBeforeCatalog: in.GetExistedBeforeCatalog(), AdminBoundary: a.boundary, Actor: caller.Username,
	})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	if config.Saved != nil {
		config.Saved(a.boundary)
	}
	if row.Status == boundaryFailed {
		return nil, withDetails(codes.FailedPrecondition, "the boundary cannot be provisioned: "+row.LastError,
			&errdetails.ErrorInfo{
				Reason: reasonBoundaryFailed, Domain: domain, Metadata: map[string]string{"boundary": row.Name},
			})
	}
	if lookup != nil || before.Status != row.Status {
		a.store.logChange(ctx, "boundary created", "boundary", row.Name, "schema", row.SchemaName)
	}
	if config.BoundaryCreated != nil {
		config.BoundaryCreated(row.Name)
	}
	return &orisunpb.CreateBoundaryResponse{Boundary: boundaryInfo(row)}, nil
}

func checkBoundary(in *orisunpb.CreateBoundaryRequest) error {
	var v violations
	v.identifier("name", in.GetName(), maxBoundaryBytes,
		"the longest name of its tables, {name}_orisun_last_published_event_position,")
	v.text("description", in.GetDescription(), 0, maxDescriptionBytes)
	if backend := in.GetPlacement().GetBackend(); backend != "" && !strings.EqualFold(backend, backendPostgres) {
		v.add("placement.backend", "is %q, the only one is %q", backend, backendPostgres)
	}
	schema := in.GetPlacement().GetNamespace()
	v.identifier("placement.namespace", schema, maxIdentifierBytes, "the name of a PostgreSQL schema")
	if strings.HasPrefix(schema, "pg_") || schema == "information_schema" {
		v.add("placement.namespace",
			"is %q, which belongs to PostgreSQL: choose a schema that is neither pg_* nor information_schema", schema)
	}
	if schema == "orisun" || schema == "orisun_boundary" {
		v.add("placement.namespace",
			"is %q, which belongs to Orisun: choose a schema that is neither orisun nor orisun_boundary, such as public", schema)
	}
	return v.err()
}

// identifier checks all or part of a PostgreSQL identifier, which PostgreSQL would silently cut at 63 bytes.
func (v *violations) identifier(field, name string, most int, longest string) {
	switch {
	case name == "":
		v.add(field, "is required")
	case len(name) > most:
		v.add(field, "has %d bytes, at most %d are allowed: %s may have %d", len(name), most, longest, maxIdentifierBytes)
	case !isIdentifier(name):
		v.add(field, "is %q: use the characters A-Z a-z 0-9 _ -, beginning with a letter or _", name)
	}
}

func boundaryInfo(row db.OrisunBoundary) *orisunpb.BoundaryInfo {
	return &orisunpb.BoundaryInfo{
		Name:        row.Name,
		Description: row.Description,
		Placement:   &orisunpb.BoundaryPlacementInput{Backend: backendPostgres, Namespace: row.SchemaName},
		Status: orisunpb.BoundaryLifecycleStatus(
			orisunpb.BoundaryLifecycleStatus_value["BOUNDARY_LIFECYCLE_STATUS_"+row.Status]),
		ExistedBeforeCatalog: row.ExistedBeforeCatalog,
		LastError:            row.LastError,
		DefinitionPosition:   positionOrNil(row.DefinitionTransactionID, row.DefinitionGlobalID),
		StatusPosition:       positionOrNil(row.StatusTransactionID, row.StatusGlobalID),
	}
}

// positionOrNil returns nil if there is no event: a boundary of the configuration was not defined by a call.
func positionOrNil(transactionID, globalID *int64) *orisunpb.Position {
	if transactionID == nil || globalID == nil {
		return nil
	}
	return &orisunpb.Position{TransactionId: *transactionID, GlobalId: *globalID}
}
