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
