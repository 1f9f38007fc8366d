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

// The limits on wrong passwords: the burst, and the long-term rate. A user gets 17,000 a day, which finds only
// passwords that are on a list. An address may stand for many people behind one gateway. An attacker must not lock a
// user out: when a user has had too many wrong passwords, an address without a wrong one for it in the last minute
// still has one try.
const (
	userBurst    = 10
	addressBurst = 50
	pairBurst    = 1

	// holdFor is how long a login that will be refused is held, which slows down clients that guess in a loop. Holding
	// needs a goroutine and no processor. maxHeld bounds how many are held; further ones are refused at once.
	holdFor = time.Second
	maxHeld = 256
)

var (
	userRate    = rate.Every(5 * time.Second)
	addressRate = rate.Every(time.Second)
	pairRate    = rate.Every(time.Minute)
)

// limiters are rate limiters by name. Memory is fixed: names are hashed, with a secret seed, to a fixed number of
// limiters. Two names may share a limiter, and many new names cannot evict an old one.
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

// guesses limits the rate of wrong passwords, per user and per address. Right ones cost nothing. It takes two
// megabytes.
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

// admit returns at once if check returns nil. Otherwise it holds the login and checks again later. Its error is
// RESOURCE_EXHAUSTED, or the context's end as a status.
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

// check returns RESOURCE_EXHAUSTED if another wrong password would exceed a limit.
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

// isFull returns whether admit would refuse a login at once instead of holding it.
func (g *guesses) isFull() bool { return len(g.held) == cap(g.held) }

// wrong notes a wrong password.
func (g *guesses) wrong(address, username string) {
	now := time.Now()
	g.addresses.of(address).AllowN(now, 1)
	g.users.of(username).AllowN(now, 1)
	g.pairs.of(pair(address, username)).AllowN(now, 1)
}

// missing is how long a limiter takes until it has a token again.
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
	s := status.New(codes.ResourceExhausted,
		fmt.Sprintf("%s: try again in %s, or use a token", why, wait.Round(time.Millisecond)))
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		s = detailed
	}
	return s.Err()
}

// addressOf is the address by which a caller's wrong passwords are counted.
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
