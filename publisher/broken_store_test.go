package publisher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oexza/orisun/publisher"
)

// TestAStreamWithBrokenFilesIsRecreated: JetStream answers no publish any more then, and would not until its next
// start.
func TestAStreamWithBrokenFilesIsRecreated(t *testing.T) {
	for name, breakFiles := range map[string]func(t *testing.T, messages string){
		"gone": func(t *testing.T, messages string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Dir(messages)); err != nil {
				t.Fatal(err)
			}
		},
		"not to be written": func(t *testing.T, messages string) {
			t.Helper()
			if err := os.RemoveAll(messages); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(messages, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.limits = publisher.StreamLimits{MaxBytes: 1 << 20} // JetStream begins another file at a quarter of that
			n := w.startNode()
			w.save("a")
			w.reaches(0)
			found, err := filepath.Glob(filepath.Join(w.dir, "jetstream", "*", "streams",
				publisher.StreamName(boundary), "msgs"))
			if err != nil || len(found) != 1 {
				t.Fatalf("the stream's files: %q, %v", found, err)
			}
			breakFiles(t, found[0])
			for i := range 300 {
				w.execute(`INSERT INTO orders_orisun_es_event (event_id, event_type, data)
					VALUES ($1, 'T', jsonb_build_object('x', $2::text))`, fmt.Sprint(i), strings.Repeat("x", 50_000))
			}
			n.Hint(boundary)
			w.reaches(300)
			w.save("b")
			w.reaches(301)
		})
	}
}
