package console

import "net/http"

const (
	cookieName   = "orisun_session"
	markHeader   = "X-Orisun-Console" // the console sends it with each call
	tokenHeader  = "X-Auth-Token"
	basicHeader  = "Authorization"
	prompt       = "WWW-Authenticate" // a browser would open its own dialog
	fetchSite    = "Sec-Fetch-Site"
	sameOrigin   = "same-origin"
	sessionPath  = "/"
	markedByPage = "1"
)

// WithCookie accepts the console's cookie as credentials, for calls that carry the header X-Orisun-Console and come
// from a page of the same origin. Other requests pass unchanged.
func WithCookie(next http.Handler, sessions Sessions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if site := r.Header.Get(fetchSite); r.Header.Get(markHeader) != markedByPage || site != "" && site != sameOrigin {
			next.ServeHTTP(w, r)
			return
		}
		cookie, err := r.Cookie(cookieName)
		if err == nil && r.Header.Get(basicHeader) == "" && r.Header.Get(tokenHeader) == "" {
			r.Header.Set(tokenHeader, cookie.Value)
		}
		moving := &answer{ResponseWriter: w, sessions: sessions, secure: r.TLS != nil}
		next.ServeHTTP(moving, r)
		moving.start() // of an answer without a body
	})
}

// answer moves the token of an answer into the cookie, so that no script of the page ever sees it.
type answer struct {
	http.ResponseWriter
	sessions Sessions
	secure   bool
	started  bool
}

func (a *answer) start() {
	if a.started {
		return
	}
	a.started = true
	header := a.Header()
	header.Del(prompt)
	if token := header.Get(tokenHeader); token != "" {
		header.Del(tokenHeader)
		if token, ok := a.sessions.Begin(token); ok {
			setCookie(a.ResponseWriter, token, 0, a.secure)
		}
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.start()
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.start()
	return a.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which gRPC requires.
func (a *answer) Flush() {
	a.start()
	if err := http.NewResponseController(a.ResponseWriter).Flush(); err != nil {
		return // the next write returns the same error
	}
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// logOut removes the cookie and ends its session.
func logOut(w http.ResponseWriter, r *http.Request, sessions Sessions) {
	if r.Header.Get(markHeader) != markedByPage {
		http.Error(w, "the header "+markHeader+" is missing", http.StatusForbidden)
		return
	}
	setCookie(w, "", -1, r.TLS != nil)
	sessions.End(w, r)
}

// setCookie sets a cookie that ends with the browser. Its token ends after ORISUN_AUTH_SESSION_TTL without a call.
// Secure only with TLS: a browser would not store it otherwise.
func setCookie(w http.ResponseWriter, token string, age int, secure bool) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure depends on TLS
		Name: cookieName, Value: token, Path: sessionPath, MaxAge: age, HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteStrictMode,
	})
}
