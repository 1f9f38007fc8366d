package server

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/httpapi"
	"github.com/oexza/orisun/service/recent"
)

const (
	// nodesPrefix, the store and what is requested make the subject on which nodes request each other's state.
	nodesPrefix = "orisun.nodes."
	statusKind  = "status"
	// subscribersKind carries a ListSubscribersRequest, conflictsKind a ListConflictsRequest.
	subscribersKind = "subscribers"
	conflictsKind   = "conflicts"
	// nodeHeader names the node that sent a message.
	nodeHeader = "orisun-node"

	// nodeHeaderBytes is more than the header of an answer takes.
	nodeHeaderBytes = 1024

	// nodesTimeout is how long a call waits for the other nodes. nodeTimeout is how long a node measures itself before it
	// answers with older numbers. It is shorter, as a message takes time, too.
	nodesTimeout = 2 * time.Second
	nodeTimeout  = time.Second
	// Measured numbers are returned again for measureAge, or for boundaryAge per boundary if that is longer. So readers
	// make a node measure at most 50 boundaries in a second, each with up to five queries.
	measureAge  = time.Second
	boundaryAge = 20 * time.Millisecond
	// maxNodeRequests is how many requests of other nodes are answered at once. More are not answered.
	maxNodeRequests = 16
	// maxNodeBoundaries bounds the answer of a node.
	maxNodeBoundaries = 1000

	// A node takes a sample of itself for its history after each samplePause, or later where measuring takes long: it
	// spends at most half a percent of its time on it, but takes one each maxSampleInterval. The pause is a little longer
	// than the series' interval, as a clock may be slowed down meanwhile.
	samplePause       = recent.Interval + 100*time.Millisecond
	samplePauseFactor = 200
	maxSampleInterval = time.Minute

	// leadsMetric has a series for each boundary that exists.
	leadsMetric = "orisun_outbox_leads"
)

// nodes is a service.Cluster: each node answers requests of the others by NATS with its own state.
type nodes struct {
	name, version string
	storeID       string
	conn          *nats.Conn
	peers         func() (connected []string, away map[string]time.Time) // the other nodes, and when they disconnected
	metrics       prometheus.Gatherer
	counters      prometheus.Gatherer // those of metrics that cost no query
	readiness     *httpapi.Readiness
	leads         func() leadership
	log           *slog.Logger
	started       time.Time

	subscription *nats.Subscription
	answering    chan struct{} // has room for each request that is answered
	running      sync.WaitGroup
	endSampling  context.CancelFunc

	mu        sync.Mutex
	stopped   bool // nothing starts to run any more
	history   recent.Series[nodeRates]
	numbers   *orisunpb.NodeStatus // the latest; nil before
	taken     time.Time            // when numbers were; its monotonic part counts, as the clock may be set back
	measuring chan struct{}        // closed when the measurement in progress ends; nil without one
}

// ownState is what other nodes request of this one beside its status.
type ownState interface {
	OwnSubscribers(in *orisunpb.ListSubscribersRequest) *orisunpb.ListSubscribersResponse
	OwnConflicts(in *orisunpb.ListConflictsRequest) *orisunpb.ListConflictsResponse
}

// leadership is what a node leads.
type leadership struct {
	users, jetStream bool
	stream           func(boundary string) bool
}

// start begins to answer the other nodes, and to take samples.
func (n *nodes) start(own ownState) error {
	if err := n.answer(own); err != nil {
		return err
	}
	var sampling context.Context
	sampling, n.endSampling = context.WithCancel(context.Background())
	n.running.Go(func() { n.sample(sampling) })
	return nil
}

// answer begins to answer the other nodes.
func (n *nodes) answer(own ownState) (err error) {
	n.answering = make(chan struct{}, maxNodeRequests)
	n.subscription, err = n.conn.Subscribe(n.subject("*"), func(request *nats.Msg) { n.accept(request, own) })
	return err
}

// accept begins to answer a request. NATS may still call it while stop waits, and after.
func (n *nodes) accept(request *nats.Msg, own ownState) {
	if request.Header.Get(nodeHeader) == n.name {
		return // this node's own
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return
	}
	select {
	case n.answering <- struct{}{}:
	default:
		return // the caller reports that this node did not answer
	}
	n.running.Go(func() {
		defer func() { <-n.answering }()
		n.respond(request, own)
	})
}

func (n *nodes) respond(request *nats.Msg, own ownState) {
	answer, err := n.answerTo(strings.TrimPrefix(request.Subject, n.subject("")), request.Data, own)
	if answer == nil && err == nil {
		return // of a later release
	}
	var body []byte
	if err == nil {
		body, err = proto.Marshal(answer)
	}
	if err == nil {
		err = request.RespondMsg(&nats.Msg{Header: nats.Header{nodeHeader: {n.name}}, Data: body})
	}
	if err != nil {
		n.log.Warn("another node gets no answer", "node", request.Header.Get(nodeHeader), "error", err)
	}
}

// answerTo returns the answer to a request of another node; nil for an unknown kind.
func (n *nodes) answerTo(kind string, request []byte, own ownState) (proto.Message, error) {
	room := int(n.conn.MaxPayload()) - nodeHeaderBytes
	switch kind {
	case statusKind:
		in := &orisunpb.ListNodesRequest{}
		if err := proto.Unmarshal(request, in); err != nil {
			return nil, err
		}
		answer := n.status(context.Background(), in)
		answer.OmittedBoundaries += int64(fit(answer, &answer.Boundaries, room))
		return answer, nil
	case subscribersKind:
		in := &orisunpb.ListSubscribersRequest{}
		if err := proto.Unmarshal(request, in); err != nil {
			return nil, err
		}
		answer := own.OwnSubscribers(in)
		fit(answer, &answer.Subscribers, room)
		return answer, nil
	case conflictsKind:
		in := &orisunpb.ListConflictsRequest{}
		if err := proto.Unmarshal(request, in); err != nil {
			return nil, err
		}
		answer := own.OwnConflicts(in)
		fit(answer, &answer.Contexts, room)
		return answer, nil
	}
	return nil, nil //nolint:nilnil // as the comment says
}

// fit removes the last rows of an answer until it fits into a message, and returns how many it removed.
func fit[T any](answer proto.Message, rows *[]T, room int) (removed int) {
	for proto.Size(answer) > room && len(*rows) > 0 {
		half := len(*rows) / 2
		removed += len(*rows) - half
		*rows = (*rows)[:half]
	}
	return removed
}

func (n *nodes) subject(kind string) string { return nodesPrefix + n.storeID + "." + kind }

// stop ends the answers.
func (n *nodes) stop() error {
	err := n.subscription.Unsubscribe()
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	if n.endSampling != nil {
		n.endSampling()
	}
	n.running.Wait()
	return err
}

// Nodes implements service.Cluster.
func (n *nodes) Nodes(ctx context.Context, in *orisunpb.ListNodesRequest) *orisunpb.ListNodesResponse {
	all := &orisunpb.ListNodesResponse{Node: n.name}
	var own *orisunpb.NodeStatus
	var measuring sync.WaitGroup
	measuring.Go(func() { own = n.status(ctx, in) })
	all.Nodes, all.Unanswered, all.Disconnected = readOthers[orisunpb.NodeStatus](ctx, n, statusKind, in)
	measuring.Wait()
	all.Nodes = append(all.Nodes, own)
	slices.SortFunc(all.Nodes, func(a, b *orisunpb.NodeStatus) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

// OtherSubscribers implements service.Cluster.
func (n *nodes) OtherSubscribers(ctx context.Context, in *orisunpb.ListSubscribersRequest) (
	others []*orisunpb.ListSubscribersResponse, unanswered []string, disconnected []*orisunpb.DisconnectedNode,
) {
	return readOthers[orisunpb.ListSubscribersResponse](ctx, n, subscribersKind, in)
}

// OtherConflicts implements service.Cluster.
func (n *nodes) OtherConflicts(ctx context.Context, in *orisunpb.ListConflictsRequest) (
	others []*orisunpb.ListConflictsResponse, unanswered []string, disconnected []*orisunpb.DisconnectedNode,
) {
	return readOthers[orisunpb.ListConflictsResponse](ctx, n, conflictsKind, in)
}

// readOthers returns the answers of the other nodes to a request.
func readOthers[T any, P interface {
	*T
	proto.Message
}](ctx context.Context, n *nodes, kind string, in proto.Message) (
	others []P, unanswered []string, disconnected []*orisunpb.DisconnectedNode,
) {
	unanswered, disconnected = n.request(ctx, kind, in, func(answer []byte) error {
		other := P(new(T))
		others = append(others, other)
		return proto.Unmarshal(answer, other)
	})
	return others, unanswered, disconnected
}

// request sends a request to the other nodes, and passes on each answer. It returns the nodes that did not answer in
// time, and those that are disconnected, by name.
func (n *nodes) request(
	ctx context.Context, kind string, in proto.Message, take func([]byte) error,
) (unanswered []string, disconnected []*orisunpb.DisconnectedNode) {
	waiting, away := n.peers()
	for _, name := range slices.Sorted(maps.Keys(away)) {
		disconnected = append(disconnected, &orisunpb.DisconnectedNode{Name: name, Since: timestamppb.New(away[name])})
	}
	if len(waiting) == 0 {
		return nil, disconnected
	}
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	body, err := proto.Marshal(in)
	if err == nil {
		err = n.receive(ctx, kind, body, func(node string, answer []byte) (complete bool, err error) {
			at := slices.Index(waiting, node)
			if at < 0 {
				return false, nil
			}
			waiting = slices.Delete(waiting, at, at+1)
			return len(waiting) == 0, take(answer)
		})
	}
	if err != nil {
		n.log.Debug("nodes did not answer", "nodes", waiting, "error", err)
	}
	return waiting, disconnected
}

func (n *nodes) receive(
	ctx context.Context, kind string, request []byte, take func(node string, answer []byte) (complete bool, err error),
) (err error) {
	inbox := n.conn.NewRespInbox()
	answers, err := n.conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() {
		if ended := answers.Unsubscribe(); err == nil {
			err = ended
		}
	}()
	err = n.conn.PublishMsg(&nats.Msg{
		Subject: n.subject(kind), Reply: inbox, Header: nats.Header{nodeHeader: {n.name}}, Data: request,
	})
	for complete := false; err == nil && !complete; {
		var answer *nats.Msg
		if answer, err = answers.NextMsgWithContext(ctx); err == nil {
			complete, err = take(answer.Header.Get(nodeHeader), answer.Data)
		}
	}
	return err
}

// status is what this node reports of itself.
func (n *nodes) status(ctx context.Context, in *orisunpb.ListNodesRequest) *orisunpb.NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	var ready httpapi.ReadinessAnswer
	var looking sync.WaitGroup
	looking.Go(func() { ready = n.readiness.Current(ctx) })
	node := &orisunpb.NodeStatus{}
	if measured := n.measured(ctx); measured != nil {
		node = proto.CloneOf(measured)
	}
	looking.Wait()
	node.Name, node.Version, node.StartedAt = n.name, n.version, timestamppb.New(n.started)
	node.Ready, node.Warnings = ready.Ready, ready.Warnings
	leads := n.leads()
	node.ProjectsUsers, node.LeadsJetstream = leads.users, leads.jetStream
	for _, boundary := range node.GetBoundaries() {
		boundary.LeadsStream = leads.stream(boundary.GetName())
	}
	if in.GetWithHistory() {
		node.History = n.samples()
	}
	for name, check := range ready.Checks {
		node.Checks = append(node.Checks, &orisunpb.NodeCheck{
			Name: name, Ok: check.OK, Required: check.Required, Reason: check.Reason,
		})
	}
	slices.SortFunc(node.Checks, func(a, b *orisunpb.NodeCheck) int { return strings.Compare(a.GetName(), b.GetName()) })
	return node
}

// measured returns this node's numbers, older ones where ctx ends before the measurement, and nil where there are none.
func (n *nodes) measured(ctx context.Context) *orisunpb.NodeStatus {
	n.mu.Lock()
	if n.stopped || n.numbers != nil && time.Since(n.taken) < ageOf(n.numbers) {
		defer n.mu.Unlock()
		return n.numbers
	}
	if n.measuring == nil {
		done := make(chan struct{})
		n.measuring = done
		n.running.Go(func() {
			defer close(done)
			families := n.gather(n.metrics)
			taken := time.Now()
			numbers := numbersOf(families, taken)
			n.mu.Lock()
			defer n.mu.Unlock()
			n.numbers, n.taken, n.measuring = numbers, taken, nil
		})
	}
	done := n.measuring
	n.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.numbers
}

// ageOf is how long these numbers are returned again.
func ageOf(numbers *orisunpb.NodeStatus) time.Duration {
	boundaries := len(numbers.GetBoundaries()) + int(numbers.GetOmittedBoundaries())
	return max(measureAge, time.Duration(boundaries)*boundaryAge)
}

func (n *nodes) gather(from prometheus.Gatherer) []*dto.MetricFamily {
	families, err := from.Gather()
	if err != nil {
		n.log.Debug("some metrics are missing", "error", err)
	}
	return families // those that could be measured
}

// numbersOf reads a node's numbers of the boundaries that exist from its metrics.
func numbersOf(families []*dto.MetricFamily, at time.Time) *orisunpb.NodeStatus {
	node, exist := allNumbersOf(families)
	node.MeasuredAt = timestamppb.New(at)
	node.Boundaries = slices.DeleteFunc(node.Boundaries, func(b *orisunpb.NodeBoundary) bool {
		return !exist[b.GetName()]
	})
	slices.SortFunc(node.Boundaries, func(a, b *orisunpb.NodeBoundary) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	if beyond := len(node.Boundaries) - maxNodeBoundaries; beyond > 0 {
		node.Boundaries, node.OmittedBoundaries = node.Boundaries[:maxNodeBoundaries], int64(beyond)
	}
	return node
}

// allNumbersOf reads the numbers of all boundaries, and which of them exist: counters of a deleted one stay in the
// metrics until the restart. Boundaries that exist are those of the publisher.
func allNumbersOf(families []*dto.MetricFamily) (node *orisunpb.NodeStatus, exist map[string]bool) {
	node, exist = &orisunpb.NodeStatus{}, map[string]bool{}
	boundaries := map[string]*orisunpb.NodeBoundary{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			name := labels["orisun_boundary"]
			if name != "" && boundaries[name] == nil {
				boundaries[name] = &orisunpb.NodeBoundary{Name: name}
				node.Boundaries = append(node.Boundaries, boundaries[name])
			}
			addMetric(node, boundaries[name], family.GetName(), labels, metric)
			exist[name] = exist[name] || family.GetName() == leadsMetric
		}
	}
	return node, exist
}

// addMetric adds a metric to the numbers of a node, and of the boundary that it is about; nil without one.
func addMetric(
	node *orisunpb.NodeStatus, boundary *orisunpb.NodeBoundary, name string, labels map[string]string, m *dto.Metric,
) {
	value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
	switch name {
	case "rpc_server_call_duration_seconds":
		method := labels["rpc_method"]
		if strings.HasSuffix(method, "/GetEvents") || strings.HasSuffix(method, "/GetLatestByCriteria") {
			node.Reads += int64(m.GetHistogram().GetSampleCount())
		}
		return
	case "orisun_flush_duration_seconds":
		node.Flushes += int64(m.GetHistogram().GetSampleCount())
		node.FlushSeconds += m.GetHistogram().GetSampleSum()
		return
	}
	if boundary == nil {
		return
	}
	switch name {
	case "orisun_saves_total":
		switch labels["orisun_outcome"] {
		case "saved":
			boundary.Saves += int64(value)
		case "context_changed":
			boundary.Conflicts += int64(value)
		}
	case leadsMetric:
		boundary.Publishes = value == 1
	case "orisun_outbox_lag_events":
		boundary.OutboxEvents = proto.Int64(int64(value))
	case "orisun_outbox_lag_duration_seconds":
		boundary.OutboxSeconds = proto.Float64(value)
	case "orisun_boundary_events":
		boundary.Events = proto.Int64(int64(value))
	case "orisun_boundary_size_bytes":
		boundary.Bytes = proto.Int64(int64(value))
	case "orisun_queue_depth":
		boundary.Queued = int64(value)
	case "orisun_feed_subscribers":
		boundary.Subscribers = int64(value)
	case "orisun_feed_deliveries_total":
		boundary.Deliveries += int64(value)
	}
}
