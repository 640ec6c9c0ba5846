package telemetry

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// A Family is a metric as its readers know it: what the registry is filled from,
// and what docs/OPERATIONS.md lists.
type Family struct {
	Name, Kind, Help string
	Labels           []Label
}

// A Label is a label with all the values it can have. There is no label whose
// values come from outside: each of them would be a series for ever.
type Label struct {
	Name   string
	Values []string
	Of     string // what the values are, where the program knows them only once it is wired
}

func (f Family) labelNames() []string {
	names := make([]string, len(f.Labels))
	for i, l := range f.Labels {
		names[i] = l.Name
	}
	return names
}

// Kinds of metrics, as the text format names them.
const (
	kindCounter   = "counter"
	kindGauge     = "gauge"
	kindHistogram = "histogram"
)

// catalogue makes metrics and remembers their families in order.
type catalogue struct {
	registry *prometheus.Registry
	families []Family
}

func (c *catalogue) add(kind, name, help string, labels []Label) Family {
	f := Family{name, kind, help, labels}
	c.families = append(c.families, f)
	return f
}

func (c *catalogue) counter(name, help string, labels ...Label) *prometheus.CounterVec {
	f := c.add(kindCounter, name, help, labels)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.Name, Help: f.Help}, f.labelNames())
	c.registry.MustRegister(v)
	return v
}

func (c *catalogue) histogram(name, help string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	f := c.add(kindHistogram, name, help, labels)
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: f.Name, Help: f.Help, Buckets: buckets}, f.labelNames())
	c.registry.MustRegister(v)
	return v
}

// gauge describes a metric that is made when somebody asks.
func (c *catalogue) gauge(name, help string, labels ...Label) *prometheus.Desc {
	f := c.add(kindGauge, name, help, labels)
	return prometheus.NewDesc(f.Name, f.Help, f.labelNames(), nil)
}

// resolve returns the counter of every value of the one label, so that each is
// there from the start, at 0, and none is looked up by its hash again.
func resolve(v *prometheus.CounterVec, values []string) map[string]prometheus.Counter {
	out := make(map[string]prometheus.Counter, len(values))
	for _, value := range values {
		out[value] = v.WithLabelValues(value)
	}
	return out
}

// Table returns the families as a table in Markdown.
func Table(families []Family) string {
	var b strings.Builder
	b.WriteString("| metric | kind | labels | |\n|---|---|---|---|\n")
	for _, f := range families {
		var labels []string
		for _, l := range f.Labels {
			of := l.Of
			if of == "" {
				values := slices.Clone(l.Values)
				for i := range values {
					values[i] = "`" + values[i] + "`"
				}
				of = strings.Join(values, ", ")
			}
			labels = append(labels, fmt.Sprintf("`%s`: %s", l.Name, of))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(labels, "; "), f.Help)
	}
	return b.String()
}
