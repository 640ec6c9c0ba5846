// Package web holds the pages, scripts and styles that the program serves. All
// of them are in the binary and load nothing from elsewhere.
package web

import "embed"

//go:embed docs
var docs embed.FS

// Docs returns the files of the page that shows the API's description, in the
// folder docs.
func Docs() embed.FS { return docs }
