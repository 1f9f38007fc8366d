package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/oexza/orisun/server/config"
)

// healthTimeout is how long a server may take to answer. It is longer than the server's own checks (readinessLimit).
const healthTimeout = 4 * time.Second

// newHealthCommand returns the command `orisun health`, which uses the server's own settings.
func newHealthCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "health",
		Short: "Check that the server on this machine is ready",
		Long: `Check that the server on this machine is ready: exit code 0, else 1.
It reads the server's own settings, and GETs /readyz without credentials
on ORISUN_ADMIN_PORT. It is for containers whose image has no other program.`,
		Example: `  orisun health
  ORISUN_ADMIN_PORT=9000 orisun health`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			config, _, err := config.Load(command.Flags(), os.Environ())
			if err != nil {
				return err
			}
			url, err := readyURL(config)
			if err != nil {
				return err
			}
			if err := checkReady(command.Context(), url); err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), "ready")
			return err
		},
	}
	addConfigFlags(command.Flags())
	return command
}

// readyURL is where the server with this configuration answers on its own machine.
func readyURL(config *config.Config) (string, error) {
	if config.Admin.Port == 0 {
		return "", usageError{errors.New("ORISUN_ADMIN_PORT is 0, a free port that only the server knows: give it a number")}
	}
	host := config.Admin.Host
	if address, err := netip.ParseAddr(host); host == "" || err == nil && address.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if config.GRPC.TLSEnabled {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(config.Admin.Port)) + "/readyz", nil
}

// checkReady returns nil where a server answers that it is ready, else the reason.
func checkReady(ctx context.Context, url string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// The certificate is for the names that clients use, not for this address. No secrets are sent.
	settings := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // see above
	client := http.Client{Transport: &http.Transport{TLSClientConfig: settings}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	var answer struct{ Ready bool }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("not ready: %s answers %s, which is no answer of an Orisun server: %w", url, response.Status, err)
	}
	if answer.Ready && response.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("not ready: %s answers %s; the server's log has the reason, and so has that page for callers with "+
		"credentials", url, response.Status)
}
