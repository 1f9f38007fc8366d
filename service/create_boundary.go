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

// boundaryFailed is the status in orisun.boundary of one without tables. It knows no PROVISIONING: a boundary is that only within the transaction
// that makes it, where nobody sees it.
const boundaryFailed = "FAILED"

// CreateBoundary makes a boundary in a PostgreSQL schema, which is created where it is missing: every node saves to it and reads from it at
// once, and publishes it within two seconds. With existed_before_catalog it takes over the tables that are there, events included. The
// admin boundary's log tells who did it, with BoundaryDefined and BoundaryActivated or BoundaryFailed. The same definition again is a success
// and answers the boundary that there is.
//
// Errors: INVALID_ARGUMENT with field paths, ALREADY_EXISTS for a name that has another definition, FAILED_PRECONDITION (BOUNDARY_FAILED) when
// PostgreSQL cannot make the tables, or cannot take over those that there are: GetBoundary tells why, and the name may be defined again. UNAVAILABLE.
func (a *Admin) CreateBoundary(ctx context.Context, in *orisunpb.CreateBoundaryRequest) (*orisunpb.CreateBoundaryResponse, error) {
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
			&errdetails.ErrorInfo{Reason: reasonBoundaryFailed, Domain: domain, Metadata: map[string]string{"boundary": row.Name}})
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
	v.identifier("name", in.GetName(), maxBoundaryBytes, "the longest name of its tables, {name}_orisun_last_published_event_position,")
	v.text("description", in.GetDescription(), 0, maxDescriptionBytes)
	if backend := in.GetPlacement().GetBackend(); backend != "" && !strings.EqualFold(backend, backendPostgres) {
		v.add("placement.backend", "is %q, the only one is %q", backend, backendPostgres)
	}
	schema := in.GetPlacement().GetNamespace()
	v.identifier("placement.namespace", schema, maxIdentifierBytes, "the name of a PostgreSQL schema")
	if strings.HasPrefix(schema, "pg_") || schema == "information_schema" {
		v.add("placement.namespace", "is %q, which belongs to PostgreSQL: choose a schema that is neither pg_* nor information_schema", schema)
	}
	if schema == "orisun" || schema == "orisun_boundary" {
		v.add("placement.namespace", "is %q, which belongs to Orisun: choose a schema that is neither orisun nor orisun_boundary, such as public", schema)
	}
	return v.err()
}

// identifier checks what becomes a part of, or all of, an identifier of PostgreSQL's, which are cut at 63 bytes in silence.
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
		Name:                 row.Name,
		Description:          row.Description,
		Placement:            &orisunpb.BoundaryPlacementInput{Backend: backendPostgres, Namespace: row.SchemaName},
		Status:               orisunpb.BoundaryLifecycleStatus(orisunpb.BoundaryLifecycleStatus_value["BOUNDARY_LIFECYCLE_STATUS_"+row.Status]),
		ExistedBeforeCatalog: row.ExistedBeforeCatalog,
		LastError:            row.LastError,
		DefinitionPosition:   positionOrNil(row.DefinitionTransactionID, row.DefinitionGlobalID),
		StatusPosition:       positionOrNil(row.StatusTransactionID, row.StatusGlobalID),
	}
}

// positionOrNil is unset where there is no event: a boundary of the configuration was not defined by anybody's call.
func positionOrNil(transactionID, globalID *int64) *orisunpb.Position {
	if transactionID == nil || globalID == nil {
		return nil
	}
	return &orisunpb.Position{TransactionId: *transactionID, GlobalId: *globalID}
}
