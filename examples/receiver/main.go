// Command receiver prints the webhooks it is sent, and checks their signatures
// if it is given what the endpoint's registration answered: a secret (whsec_…),
// or with the signature v1a a public key (whpk_…). It is what an integrator
// writes: a secret's signature is checked by the Standard Webhooks library, with
// nothing of Verbatim's, and that of a key by our own Verify, for the library
// knows no v1a.
//
//	go run ./examples/receiver -addr 127.0.0.1:9000 -secret whsec_…
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"verbatim/webhooks"
)

// maxBody bounds what is read of one webhook.
const maxBody = 16 << 20

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on")
	secret := flag.String("secret", "", "the endpoint's secret, whsec_…, or public key, whpk_…; without it signatures are not checked")
	flag.Parse()
	if err := run(*addr, *secret); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func run(addr, secret string) error {
	check, err := checker(secret)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second, Handler: receiver(check, os.Stdout)}
	fmt.Printf("waiting for webhooks on http://%s\n\n", addr)
	return server.ListenAndServe()
}

// checker returns what checks the signature of a webhook, nil if there is nothing
// to check it with.
func checker(secret string) (func(body []byte, header http.Header) error, error) {
	switch {
	case secret == "":
		return nil, nil //nolint:nilnil // nothing to check with is no error
	case strings.HasPrefix(secret, "whpk_"):
		return func(body []byte, header http.Header) error {
			return webhooks.Verify([]string{secret}, header.Get, body, time.Now(), webhooks.Tolerance)
		}, nil
	default:
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, err
		}
		return verifier.Verify, nil
	}
}

// receiver prints the webhooks that pass the check, if there is one.
func receiver(check func(body []byte, header http.Header) error, out io.Writer) http.Handler {
	var turn sync.Mutex // one webhook is printed at a time
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		signature := "not checked"
		if check != nil {
			if err := check(body, r.Header); err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
			signature = "valid"
		}
		turn.Lock()
		defer turn.Unlock()
		var pretty bytes.Buffer
		if json.Indent(&pretty, body, "", "  ") != nil {
			pretty.Write(body)
		}
		fmt.Fprintf(out, "%s (signature %s)\n%s\n\n", r.Header.Get("webhook-id"), signature, pretty.String())
		w.WriteHeader(http.StatusNoContent)
	})
}
