package client

import (
	"cmp"
	"fmt"

	"github.com/oexza/orisun/client/internal/wire"
)

// Position orders the events of one boundary. The zero value stands before the first event.
type Position struct {
	// TransactionID is the same for all events of one save.
	TransactionID int64
	// GlobalID counts the events of the boundary from 0.
	GlobalID int64
}

// Compare returns -1, 0 or +1, as p stands before, at or after other.
func (p Position) Compare(other Position) int {
	return cmp.Or(cmp.Compare(p.TransactionID, other.TransactionID), cmp.Compare(p.GlobalID, other.GlobalID))
}

// IsStart reports whether no event stands at or before p.
func (p Position) IsStart() bool { return p.TransactionID <= 0 }

func (p Position) String() string { return fmt.Sprintf("{%d,%d}", p.TransactionID, p.GlobalID) }

func (p Position) wire() *wire.Position {
	if p.IsStart() {
		return &wire.Position{TransactionId: -1, GlobalId: -1}
	}
	return &wire.Position{TransactionId: p.TransactionID, GlobalId: p.GlobalID}
}

// positionFrom makes the start the zero value.
func positionFrom(p *wire.Position) Position {
	if p.GetTransactionId() <= 0 {
		return Position{}
	}
	return Position{p.GetTransactionId(), p.GetGlobalId()}
}
