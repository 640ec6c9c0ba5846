package projections

// SetLimit bounds the memory of t otherwise than TranscriptMemory does.
func (t *Transcripts) SetLimit(bytes int) { t.limit = bytes }

// Kept returns how many streams t keeps, and how large it thinks they are.
func (t *Transcripts) Kept() (streams, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.streams), t.size
}

// SizeOf returns how large what is kept of a stream is.
func (t *Transcripts) SizeOf(stream string) int {
	tr := t.enter(stream)
	defer t.leave(tr)
	return tr.count()
}

// InboxCache is the bound of the rows that the inbox remembers.
const InboxCache = inboxCache

// ExpiryBatch is the bound of one step of the expirer.
const ExpiryBatch = expiryBatch

// SetOriginLimit bounds what p remembers of conversations, once it is loaded,
// otherwise than it does itself.
func (p *Plan) SetOriginLimit(bytes int) { p.origins.limit = bytes }

// Origins returns how many conversations p remembers for filters, how many bytes
// it thinks that takes, and how many it takes.
func (p *Plan) Origins() (known, counted, size int) {
	for _, o := range p.origins.known {
		size += o.size()
	}
	return len(p.origins.known), p.origins.size, size
}

// SetStepLimit bounds the lives that p remembers otherwise than maxSteps does.
func (p *Plan) SetStepLimit(steps int) { p.limit = steps }

// Remembered returns of how many steps of endpoints p remembers what they were.
func (p *Plan) Remembered() (steps int) {
	if p.behind == nil {
		return 0
	}
	for _, l := range p.behind.lives {
		steps += len(l.steps)
	}
	return steps
}
