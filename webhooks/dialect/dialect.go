// Package dialect is the list of the formats that the program speaks.
package dialect

import (
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/chatwoot"
	"verbatim/webhooks/dialect/clarityflow"
	"verbatim/webhooks/dialect/closer"
	"verbatim/webhooks/dialect/cloudevents"
	"verbatim/webhooks/dialect/talkus"
	"verbatim/webhooks/dialect/verbatim"
)

// All returns every dialect there is. This is the one list.
func All() *webhooks.Dialects {
	return webhooks.NewDialects(
		chatwoot.New(),
		clarityflow.New(),
		closer.New(),
		cloudevents.New(),
		talkus.New(),
		verbatim.New(),
	)
}
