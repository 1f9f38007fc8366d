package migrations_test

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
)

func claim(t *testing.T, conn *pgx.Conn) db.ClaimStoreRow {
	t.Helper()
	store, err := db.New().ClaimStore(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func tokenKeys(t *testing.T, conn *pgx.Conn) map[string]bool {
	t.Helper()
	rows, err := db.New().GetTokenKeys(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, row := range rows {
		keys[string(row.Key)] = true
	}
	return keys
}

func TestAStoreKeepsItsIdentityHoweverManyNodesClaimIt(t *testing.T) {
	pool := pgtest.New(t)
	var claims [8]db.ClaimStoreRow
	var errs [8]error
	var wait sync.WaitGroup
	for i := range claims {
		wait.Go(func() { claims[i], errs[i] = db.New().ClaimStore(t.Context(), pool) })
	}
	wait.Wait()
	first := 0
	for i, c := range claims {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if c.StoreID != claims[0].StoreID || len(c.StoreID) != 36 {
			t.Errorf("node %d has store %q, node 0 has %q", i, c.StoreID, claims[0].StoreID)
		}
		if c.PreviousID == "" {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d nodes made the identity, want one", first)
	}
}

func TestACopyOfADatabaseHasAnIdentityAndTokenKeysOfItsOwn(t *testing.T) {
	for name, copied := range map[string]func(t *testing.T, original *pgx.ConnConfig) *pgx.ConnConfig{
		"from a template": func(t *testing.T, original *pgx.ConnConfig) *pgx.ConnConfig {
			t.Helper()
			return pgtest.Copy(t, original)
		},
		"renewed by hand": func(t *testing.T, original *pgx.ConnConfig) *pgx.ConnConfig {
			t.Helper()
			mustExec(t, connect(t, original), "SELECT orisun.renew_store()")
			return original
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := pgtest.Clone(t)
			original, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			store, keys := claim(t, original), tokenKeys(t, original)
			mustExec(t, original, "SELECT orisun.rotate_token_key()") // the usual state: a latest key, and the one before it
			for key := range tokenKeys(t, original) {
				keys[key] = true
			}
			if again := claim(t, original); again.StoreID != store.StoreID || again.PreviousID != store.StoreID {
				t.Errorf("claimed again: %+v, want %s", again, store.StoreID)
			}
			if err := original.Close(t.Context()); err != nil {
				t.Fatal(err)
			}

			conn := connect(t, copied(t, config))
			own := claim(t, conn)
			if own.StoreID == store.StoreID {
				t.Errorf("the copy is store %s, as the original is", own.StoreID)
			}
			if name == "from a template" && own.PreviousID != store.StoreID {
				t.Errorf("the copy says that it was %q, want %s", own.PreviousID, store.StoreID)
			}
			copies := tokenKeys(t, conn)
			for key := range copies {
				if keys[key] {
					t.Error("a token of the original is valid in the copy")
				}
			}
			if len(copies) == 0 {
				t.Error("the copy has no key")
			}
		})
	}
}

func TestAStoreIsClaimedWithoutSuperuser(t *testing.T) {
	conn := connect(t, pgtest.Clone(t))
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, "CREATE ROLE claiming")
	mustExec(t, conn, "GRANT USAGE ON SCHEMA orisun TO claiming")
	mustExec(t, conn, "GRANT ALL ON orisun.store, orisun.token_key TO claiming")
	mustExec(t, conn, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA orisun TO claiming")
	mustExec(t, conn, "SET LOCAL ROLE claiming")
	claim(t, conn)
	mustExec(t, conn, "ROLLBACK")
}
