package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// Comments keep a stream without events open.
func TestServerSentEventsCarryACommentEachFifteenSeconds(t *testing.T) {
	const comment = ": still here\n\n"
	synctest.Test(t, func(t *testing.T) {
		for kind, want := range map[string]string{
			serverSentType: "id: 3/2\ndata: {\"position\":{\"transactionId\":\"3\",\"globalId\":\"2\"}}\n\n" + comment + comment,
			ndjsonType:     `{"position":{"transactionId":"3","globalId":"2"}}` + "\n",
		} {
			to := httptest.NewRecorder()
			out := &lines{to: to, flush: http.NewResponseController(to), header: make(http.Header), kind: kind}
			out.start()
			message := `{"position":{"transactionId":"3","globalId":"2"}}`
			if _, err := out.Write(append([]byte{0, 0, 0, 0, byte(len(message))}, message...)); err != nil {
				t.Fatal(err)
			}
			<-time.After(31 * time.Second) // the bubble's clock
			synctest.Wait()
			out.end()
			<-time.After(time.Minute)
			synctest.Wait()
			if got := to.Body.String(); got != want {
				t.Errorf("%s: %q, want %q", kind, got, want)
			}
		}
	})
}
