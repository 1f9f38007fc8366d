package httpapi

import (
	"encoding/json"
	"net/http"
)

// answerJSON answers with a document of our own, which always marshals. A client that disconnected does not get it.
func answerJSON(w http.ResponseWriter, status int, document any) {
	body, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Orisun", charset="UTF-8"`)
	}
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		return // the client disconnected
	}
}

// writeError answers as Connect does: a code of gRPC, and what is wrong.
func writeError(w http.ResponseWriter, status int, code, message string) {
	answerJSON(w, status, map[string]string{"code": code, "message": message})
}
