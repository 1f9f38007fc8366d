package publisher_test

import "testing"

// lose deletes the messages of these events.
func (w *world) lose(globalIDs ...uint64) {
	w.t.Helper()
	for _, id := range globalIDs {
		if err := w.stream().DeleteMsg(w.t.Context(), id+1); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestAStreamThatLostMessagesBeginsAfterThem, as its readers would take what is left for all there is.
func TestAStreamThatLostMessagesBeginsAfterThem(t *testing.T) {
	for name, lose := range map[string]func(w *world, n *node){
		"while it is published": func(w *world, _ *node) { w.lose(10, 20, 21, 22) },
		"before a takeover": func(w *world, n *node) {
			n.stop()
			w.lose(10, 20, 21, 22)
			w.startNode()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.startNode()
			w.save(ids("a", 50)...)
			w.reaches(49)
			lose(w, n)
			eventually(t, "the stream begins after what it lost", func() (bool, error) {
				return w.stream().CachedInfo().State.FirstSeq == 24, nil
			})
			w.save(ids("b", 5)...)
			w.isPublished(23)
		})
	}
}

// TestMessagesThatStandAgainBehindTheirPlaceAreNoHole: the stream lost its end and got it again, so it still is the
// log.
func TestMessagesThatStandAgainBehindTheirPlaceAreNoHole(t *testing.T) {
	w := newWorld(t)
	n := w.startNode()
	w.save(ids("a", 50)...)
	w.reaches(49)
	n.stop()
	w.lose(48, 49)
	n = w.startNode()
	w.isPublished(0)
	if deleted := w.stream().CachedInfo().State.NumDeleted; deleted != 2 {
		t.Fatalf("%d places of the stream are empty, want those of the two messages that it lost", deleted)
	}
	n.stop()
	w.save("b")
	w.startNode()
	w.isPublished(0)
}
