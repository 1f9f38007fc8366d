// Package console serves the web console: pages that use the store's HTTP API, and a cookie as credentials for it.
//
// The pages are plain ES modules in assets, one for each page, without a build step. A login is a call with a password
// and the header X-Orisun-Console. WithCookie makes a session of the token of its answer, moves it into an HttpOnly
// cookie, and puts the cookie's token into later calls that have the header. A page of another site cannot send that
// header: browsers allow custom headers for the same origin only. A logout ends the session on the server.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
)

//go:embed assets
var embedded embed.FS

// policy allows the console's own files and calls only: no inline script, no style attribute, no other origin.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Caller is the user of a session.
type Caller struct {
	UserID   string   `json:"userId"`
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
}

// Sessions are the logins of the console.
type Sessions interface {
	// Identify returns the caller of a request; false without valid credentials.
	Identify(r *http.Request) (Caller, bool)
	// Begin returns a token like this one that has a session; false if the token is invalid.
	Begin(token string) (string, bool)
	// End answers the request with which a caller logs out. It ends the session of the request's token.
	End(w http.ResponseWriter, r *http.Request)
}

// Handler serves the pages at / and /console/, the caller at GET /console/session, and the logout at DELETE.
// grpcPort is for the commands that pages offer to copy.
func Handler(sessions Sessions, grpcPort string) (http.Handler, error) {
	assets, err := fs.Sub(embedded, "assets")
	if err != nil {
		return nil, err
	}
	version, err := versionOf(assets)
	if err != nil {
		return nil, err
	}
	files := http.FileServerFS(assets)
	routes := http.NewServeMux()
	routes.HandleFunc("GET /console/session", func(w http.ResponseWriter, r *http.Request) {
		session(w, r, sessions, grpcPort)
	})
	routes.HandleFunc("DELETE /console/session", func(w http.ResponseWriter, r *http.Request) {
		logOut(w, r, sessions)
	})
	routes.Handle("GET /console/", http.StripPrefix("/console", files))
	routes.Handle("GET /{$}", files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cache-Control", "no-cache")
		if r.URL.Path != "/console/session" {
			w.Header().Set("ETag", version)
		}
		routes.ServeHTTP(w, r)
	}), nil
}

// versionOf is an ETag of all files together: they change with the binary only.
func versionOf(assets fs.FS) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(assets, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(assets, path)
		sum.Write(content) // a hash.Hash never returns an error
		return err
	})
	return `"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`, err
}

func session(w http.ResponseWriter, r *http.Request, sessions Sessions, grpcPort string) {
	caller, ok := sessions.Identify(r)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if err := json.NewEncoder(w).Encode(struct {
		Caller
		GRPCPort string `json:"grpcPort"`
	}{caller, grpcPort}); err != nil {
		return // the client disconnected
	}
}
