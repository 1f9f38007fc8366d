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
// list. An address may stand for many people behind one gateway.
const (
	userBurst    = 10
	addressBurst = 50
	limiters     = 4096 // of each kind; takes less than a megabyte

	// holdFor is how long a login that would be refused is held before it is, so that who guesses in a loop turns slowly. It needs a goroutine and
	// no processor. maxHeld bounds how many are; further ones are refused at once.
	holdFor = time.Second
	maxHeld = 1024
)

var (
	userRate    = rate.Every(5 * time.Second)
	addressRate = rate.Every(time.Second)
)

// guesses slows wrong passwords down, per user and per address. Right ones cost nothing. Memory is fixed: users and addresses are hashed, with a
// seed that nobody knows, to a fixed number of limiters, so two of them may share one, and many wrong ones push no old one out.
type guesses struct {
	seed             maphash.Seed
	users, addresses [limiters]*rate.Limiter
	held             chan struct{}
}

func newGuesses() *guesses {
	g := &guesses{seed: maphash.MakeSeed(), held: make(chan struct{}, maxHeld)}
	for i := range limiters {
		g.users[i] = rate.NewLimiter(userRate, userBurst)
		g.addresses[i] = rate.NewLimiter(addressRate, addressBurst)
	}
	return g
}

func (g *guesses) user(name string) *rate.Limiter {
	return g.users[maphash.String(g.seed, name)%limiters]
}

func (g *guesses) address(address string) *rate.Limiter {
	return g.addresses[maphash.String(g.seed, address)%limiters]
}

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
	now := time.Now()
	wait := max(missing(g.address(address), now), missing(g.user(username), now))
	if wait == 0 {
		return nil
	}
	return tooManyLogins("too many wrong passwords for this user or from this address", wait)
}

// wrong notes a wrong password.
func (g *guesses) wrong(address, username string) {
	now := time.Now()
	g.address(address).AllowN(now, 1)
	g.user(username).AllowN(now, 1)
}

// missing is how long a limiter takes until it has one again.
func missing(limiter *rate.Limiter, now time.Time) time.Duration {
	lacks := 1 - limiter.TokensAt(now)
	if lacks <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(lacks / float64(limiter.Limit()) * float64(time.Second)))
}

func tooManyLogins(why string, wait time.Duration) error {
	s := status.New(codes.ResourceExhausted, fmt.Sprintf("%s: try again in %s, or use a token", why, wait.Round(time.Millisecond)))
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		s = detailed
	}
	return s.Err()
}

// addressOf is whose wrong passwords are counted together: a host, or the /64 network of an IPv6 one, which is what one customer has.
func addressOf(ctx context.Context) string {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(caller.Addr.String())
	if err != nil {
		return caller.Addr.String()
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if address = address.Unmap(); address.Is6() {
		return netip.PrefixFrom(address.WithZone(""), 64).Masked().String()
	}
	return address.String()
}
