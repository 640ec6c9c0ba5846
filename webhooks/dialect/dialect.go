// Package dialect is the list of the formats that the program speaks.
package dialect

import (
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/closer"
	"verbatim/webhooks/dialect/verbatim"
)

// All returns every dialect there is. This is the one list.
func All() *webhooks.Dialects {
	return webhooks.NewDialects(
		closer.New(),
		verbatim.New(),
	)
}
