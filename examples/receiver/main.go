// Command receiver prints the webhooks it is sent, and checks their signatures
// if it is given the endpoint's secret. It is what an integrator writes: the
// check is that of the Standard Webhooks library, and nothing of Verbatim's.
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
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxBody bounds what is read of one webhook.
const maxBody = 16 << 20

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on")
	secret := flag.String("secret", "", "the endpoint's secret, whsec_…; without it signatures are not checked")
	flag.Parse()
	if err := run(*addr, *secret); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func run(addr, secret string) error {
	var verifier *standardwebhooks.Webhook
	if secret != "" {
		var err error
		if verifier, err = standardwebhooks.NewWebhook(secret); err != nil {
			return err
		}
	}
	var turn sync.Mutex // one webhook is printed at a time
	server := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		signature := "not checked"
		if verifier != nil {
			if err := verifier.Verify(body, r.Header); err != nil {
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
		fmt.Printf("%s (signature %s)\n%s\n\n", r.Header.Get("webhook-id"), signature, pretty.String())
		w.WriteHeader(http.StatusNoContent)
	})
	fmt.Printf("waiting for webhooks on http://%s\n\n", addr)
	return server.ListenAndServe()
}
