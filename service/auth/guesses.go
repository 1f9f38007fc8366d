package auth

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// How many wrong passwords are taken at once, and then in the long run: for one user 17,000 a day, which finds no password that is not on a
// list. An address may stand for many people behind one gateway. Whoever guesses at a user must not keep that user out: when a user has had too
// many wrong ones, an address that has not shown one for it within the last minute still has a try.
const (
	userBurst    = 10
	addressBurst = 50
	pairBurst    = 1

	// holdFor is how long a login that would be refused is held before it is, so that who guesses in a loop turns slowly. It needs a goroutine and
	// no processor. maxHeld bounds how many are; further ones are refused at once.
	holdFor = time.Second
	maxHeld = 256
)

var (
	userRate    = rate.Every(5 * time.Second)
	addressRate = rate.Every(time.Second)
	pairRate    = rate.Every(time.Minute)
)

// limiters slow down what they are for. Memory is fixed: names are hashed, with a seed that nobody knows, to a fixed number of limiters, so two of
// them may share one, and many new ones push no old one out.
type limiters struct {
	seed maphash.Seed
	all  []*rate.Limiter
}

func newLimiters(count int, limit rate.Limit, burst int) limiters {
	l := limiters{maphash.MakeSeed(), make([]*rate.Limiter, count)}
	for i := range l.all {
		l.all[i] = rate.NewLimiter(limit, burst)
	}
	return l
}

func (l limiters) of(name string) *rate.Limiter {
	return l.all[maphash.String(l.seed, name)%uint64(len(l.all))]
}

// guesses slows wrong passwords down, per user and per address. Right ones cost nothing. All of it takes two megabytes.
type guesses struct {
	users, addresses, pairs limiters
	held                    chan struct{}
}

func newGuesses() *guesses {
	return &guesses{
		users:     newLimiters(4096, userRate, userBurst),
		addresses: newLimiters(4096, addressRate, addressBurst),
		pairs:     newLimiters(16384, pairRate, pairBurst), // an attack from many addresses uses up many of them
		held:      make(chan struct{}, maxHeld),
	}
}

// pair names a user at an address, which has no line breaks.
func pair(address, username string) string { return address + "\n" + username }

// admit returns at once what check does when that is nil, else later, looking again: RESOURCE_EXHAUSTED, or the context's end as a status.
func (g *guesses) admit(ctx context.Context, address, username string) error {
	err := g.check(address, username)
	if err == nil {
		return nil
	}
	select {
	case g.held <- struct{}{}:
		defer func() { <-g.held }()
	default:
		return err
	}
	timer := time.NewTimer(holdFor)
	defer timer.Stop()
	select {
	case <-timer.C:
		return g.check(address, username)
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// check returns RESOURCE_EXHAUSTED where another wrong password would be one too many.
func (g *guesses) check(address, username string) error {
	if wait := g.wait(address, username); wait > 0 {
		return tooManyWrong(wait)
	}
	return nil
}

// wait is how long until this address may try a password of this user again.
func (g *guesses) wait(address, username string) time.Duration {
	now := time.Now()
	ofUser := missing(g.users.of(username), now)
	if ofUser > 0 {
		ofUser = min(ofUser, missing(g.pairs.of(pair(address, username)), now))
	}
	return max(missing(g.addresses.of(address), now), ofUser)
}

// isFull tells whether admit would not hold a login but refuse it at once.
func (g *guesses) isFull() bool { return len(g.held) == cap(g.held) }

// wrong notes a wrong password.
func (g *guesses) wrong(address, username string) {
	now := time.Now()
	g.addresses.of(address).AllowN(now, 1)
	g.users.of(username).AllowN(now, 1)
	g.pairs.of(pair(address, username)).AllowN(now, 1)
}

// missing is how long a limiter takes until it has one again.
func missing(limiter *rate.Limiter, now time.Time) time.Duration {
	lacks := 1 - limiter.TokensAt(now)
	if lacks <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(lacks / float64(limiter.Limit()) * float64(time.Second)))
}

func tooManyWrong(wait time.Duration) error {
	return tooManyLogins("too many wrong passwords for this user or from this address", wait)
}

func tooManyWaiting() error { return tooManyLogins("too many logins wait for their turn", time.Second) }

func tooManyLogins(why string, wait time.Duration) error {
	s := status.New(codes.ResourceExhausted, fmt.Sprintf("%s: try again in %s, or use a token", why, wait.Round(time.Millisecond)))
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		s = detailed
	}
	return s.Err()
}

// addressOf is whose wrong passwords are counted together.
func addressOf(ctx context.Context) string {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	return hostOf(caller.Addr)
}

// hostOf is a host, or the /64 network of an IPv6 one, which is what one customer has.
func hostOf(caller net.Addr) string {
	var address netip.Addr
	if tcp, ok := caller.(*net.TCPAddr); ok {
		address = tcp.AddrPort().Addr()
	} else if parsed, err := netip.ParseAddrPort(caller.String()); err == nil { // calls by HTTP
		address = parsed.Addr()
	} else {
		return caller.String()
	}
	if address = address.Unmap(); address.Is6() {
		return netip.PrefixFrom(address.WithZone(""), 64).Masked().String()
	}
	return address.String()
}
