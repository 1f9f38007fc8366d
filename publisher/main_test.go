package publisher

import (
	"os"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
