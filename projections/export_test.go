package projections

// SetLimit bounds the memory of t otherwise than TranscriptMemory does.
func (t *Transcripts) SetLimit(bytes int) { t.limit = bytes }

// Kept returns how many streams t keeps, and how large it thinks they are.
func (t *Transcripts) Kept() (streams, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.streams), t.size
}

// Sizes returns what t thinks the histories of a stream take, and what they do.
func (t *Transcripts) Sizes(stream string) (counted, real int) {
	tr := t.enter(stream)
	defer t.leave(tr)
	for _, c := range tr.cursors {
		counted += c.size
		real += c.Size()
	}
	return counted, real
}

// InboxCache is the bound of the rows that the inbox remembers.
const InboxCache = inboxCache

// ExpiryBatch is the bound of one step of the expirer.
const ExpiryBatch = expiryBatch
