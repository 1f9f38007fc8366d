package jetstream

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStrangersAtThePortDoNotFillTheLog(t *testing.T) {
	var text bytes.Buffer
	log := newLogger(slog.New(slog.NewTextHandler(&text, nil)), t.TempDir())
	for range 10_000 {
		log.Errorf("%s - %s - authentication error - User %q", "192.0.2.1:4711", "cid:7", "admin")
	}
	if lines := strings.Count(text.String(), "\n"); lines < lineBurst || lines > 2*lineBurst ||
		strings.Contains(text.String(), "level=ERROR") {
		t.Errorf("10,000 guesses are logged in %d lines", lines)
	}
}

func TestWhatNATSRepeatsIsOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := newLogger(slog.New(slog.NewTextHandler(&text, nil)), t.TempDir())
		for i := range 150 {
			log.Errorf("127.0.0.1:6222 - rid:%d - Authorization Violation", i)
			log.Warnf("JetStream cluster stream '$G > ORISUN_orders' has NO quorum, stalled")
			<-time.After(time.Second) // the bubble's clock
		}
		if refused, stalled := strings.Count(text.String(), "Violation"),
			strings.Count(text.String(), "stalled"); refused != 3 || stalled != 3 {
			t.Errorf("150 lines of each in 150 seconds are logged in %d and %d:\n%s", refused, stalled, text.String())
		}
		if !strings.Contains(text.String(), "repeated=59") {
			t.Errorf("how often is not logged:\n%s", text.String())
		}
	})
}

func TestAMissingNodeIsOneLineAtItsBeginOneAMinuteAndOneAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := newLogger(slog.New(slog.NewTextHandler(&text, nil)), t.TempDir())
		connected := []string{"node-2", "node-3"}
		log.peers = newPeers(log.log, func() []string { return connected })
		pass := func(seconds int, failing bool) (logged string) {
			text.Reset()
			for range seconds {
				if failing {
					for attempt := range 4 {
						log.Errorf("Error trying to connect to route (attempt %v): %v",
							attempt, "dial tcp 192.0.2.3:6222: connect: connection refused")
					}
				}
				if failing { // by a proxy
					log.Errorf("127.0.0.1:42613 - rid:126 - TLS route handshake error: EOF")
				}
				log.peers.look()
				<-time.After(time.Second) // the bubble's clock
			}
			return text.String()
		}
		check := func(when, logged string, lines int, parts ...string) {
			t.Helper()
			if n := strings.Count(logged, "\n"); n != lines {
				t.Errorf("%s: %d lines, want %d:\n%s", when, n, lines, logged)
			}
			for _, part := range parts {
				if !strings.Contains(logged, part) {
					t.Errorf("%s: %q is not logged:\n%s", when, part, logged)
				}
			}
		}
		check("all are there", pass(60, false), 0)
		connected = connected[:1]
		check("a short break", pass(2, true), 0)
		connected = connected[:2]
		check("after it", pass(20, false), 0)

		connected = connected[:1]
		check("one is dead", pass(10, true), 1, "level=WARN", "node=node-3", "TLS handshake: EOF")
		if err := log.peers.err(); err == nil || !strings.Contains(err.Error(), "node-3 (for ") ||
			!strings.Contains(err.Error(), "TLS handshake: EOF") {
			t.Errorf("/readyz would say %v", err)
		}
		check("for three minutes", pass(180, true), 3, "still missing", "node-3 (for ")
		connected = connected[:2]
		check("it is back", pass(30, false), 1, "level=INFO", "connected again", "node=node-3", "missing_for=3m10s")
		if err := log.peers.err(); err != nil {
			t.Error(err)
		}
	})
}

func TestANodeThatNeverCameIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := newLogger(slog.New(slog.NewTextHandler(&text, nil)), t.TempDir())
		connected := []string{"node-2"}
		log.peers = newPeers(log.log, func() []string { return connected })
		for range 30 {
			log.Errorf("Error trying to connect to route (attempt %v): %v", 1, `lookup for host "node3": no such host`)
			log.peers.look()
			<-time.After(time.Second) // the bubble's clock
		}
		if strings.Count(text.String(), "\n") != 1 || !strings.Contains(text.String(), "no such host") ||
			!strings.Contains(text.String(), "ORISUN_NATS_CLUSTER_ROUTES") ||
			strings.Contains(text.String(), "node=") {
			t.Errorf("it is logged:\n%s", text.String())
		}
		if err := log.peers.err(); err == nil || !strings.Contains(err.Error(), "not connected yet") {
			t.Errorf("/readyz would say %v", err)
		}
		text.Reset()
		connected = append(connected, "node-3")
		log.peers.look()
		want := `level=INFO msg="NATS: a node in ORISUN_NATS_CLUSTER_ROUTES is connected" missing_for=29s` + "\n"
		if !strings.HasSuffix(text.String(), want) || strings.Count(text.String(), "\n") != 1 {
			t.Errorf("when it connects the log says:\n%s\nwant %s", text.String(), want)
		}
		if err := log.peers.err(); err != nil {
			t.Error(err)
		}
	})
}

func TestANodeThatIsAwayForADayIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		connected := []string{"node-2", "node-3"}
		p := newPeers(slog.New(slog.NewTextHandler(&text, nil)), func() []string { return connected })
		pass := func(d time.Duration) {
			for began := time.Now(); time.Since(began) < d; <-time.After(peerPoll) { // the bubble's clock
				p.look()
			}
		}
		pass(time.Minute)
		connected = connected[:1]
		lost := time.Now()
		pass(24 * time.Hour)
		if known, away := p.names(); !slices.Equal(known, []string{"node-2"}) || len(away) != 1 ||
			!away["node-3"].Equal(lost) || p.err() == nil {
			t.Errorf("within a day: %q are connected, %v are away since %v, %v", known, away, lost, p.err())
		}
		text.Reset()
		pass(5 * time.Minute)
		if known, away := p.names(); !slices.Equal(known, []string{"node-2"}) || len(away) != 0 || p.err() != nil {
			t.Errorf("after a day: %q are connected, %v are away, %v", known, away, p.err())
		}
		if strings.Count(text.String(), "\n") != 1 || !strings.Contains(text.String(), "forgotten") ||
			!strings.Contains(text.String(), "node=node-3 missing_for=24h0m0s") {
			t.Errorf("it is logged:\n%s", text.String())
		}
		connected = connected[:2]
		pass(time.Minute)
		if known, away := p.names(); !slices.Equal(known, connected) || len(away) != 0 {
			t.Errorf("when it is back: %q are connected, %v are away", known, away)
		}
	})
}
