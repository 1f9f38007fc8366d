package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// heartbeatPeriod is how often server-sent events carry a comment. Proxies close silent connections, mostly after
	// 30 or 60 s.
	heartbeatPeriod = 15 * time.Second
	lastEventID     = "Last-Event-ID"
)

// isCrossOrigin reports whether a page of another site sent a GET. A subscription can take a subscriber_name over
// from another one, so such a page must not open one with the browser's credentials.
func isCrossOrigin(r *http.Request) bool {
	asPost := r.Clone(r.Context())
	asPost.Method = http.MethodPost
	return http.NewCrossOriginProtection().Check(asPost) != nil
}

// resume continues the subscription after the event that the header Last-Event-ID names, whatever position its
// request has.
func resume(r *http.Request, request []byte) ([]byte, error) {
	id := r.Header.Get(lastEventID)
	if id == "" || r.URL.Path != orisunpb.EventStore_CatchUpSubscribeToEvents_FullMethodName {
		return request, nil
	}
	transactionID, globalID, found := strings.Cut(id, "/")
	transaction, err := strconv.ParseInt(transactionID, 10, 64)
	global, err2 := strconv.ParseInt(globalID, 10, 64)
	if !found || err != nil || err2 != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the header %s is %q: it must be the id of an event, such as 42/41",
			lastEventID, id)
	}
	var subscribe orisunpb.CatchUpSubscribeToEventStoreRequest
	if err := protojson.Unmarshal(request, &subscribe); err != nil {
		return nil, status.Errorf(codes.InvalidArgument,
			"the request is not the JSON of a CatchUpSubscribeToEventStoreRequest: %v", err)
	}
	subscribe.AfterPosition = &orisunpb.Position{TransactionId: transaction, GlobalId: global}
	return protojson.Marshal(&subscribe)
}

// eventID is the id line of an event. It is empty for messages that are no events.
func eventID(message []byte) (string, error) {
	var event struct {
		Position *struct{ TransactionID, GlobalID string }
	}
	if err := json.Unmarshal(message, &event); err != nil || event.Position == nil {
		return "", err
	}
	return fmt.Sprintf("id: %s/%s\n", event.Position.TransactionID, event.Position.GlobalID), nil
}
