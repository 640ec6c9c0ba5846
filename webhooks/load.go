package webhooks

import "sync/atomic"

// A Load is how much of the queue a dispatcher has in its hands.
type Load struct {
	Lanes      int // in memory
	Deliveries int // in memory, over all of them
	UnderWay   int // attempts, those among them whose outcome is not yet on record
}

// load is a Load that one goroutine writes and others read.
type load struct{ lanes, deliveries, underWay atomic.Int64 }

// Load returns what the dispatcher had in its hands after its last Step. It may
// be called from anywhere.
func (d *Dispatcher) Load() Load {
	return Load{int(d.load.lanes.Load()), int(d.load.deliveries.Load()), int(d.load.underWay.Load())}
}

func (d *Dispatcher) weigh() {
	d.load.lanes.Store(int64(d.count))
	d.load.deliveries.Store(int64(d.queued))
	d.load.underWay.Store(int64(d.busy))
}
