// Command verbatim runs a conversation platform: chat frontends send it
// commands over HTTP, it keeps what happened in an event log, and delivers
// webhooks that bear the history of the conversation.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
