package verbatim_test

import (
	"testing"
	"time"

	"verbatim/domain/conversation"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/verbatim"
	"verbatim/webhooks/webhookstest"
)

// A whole is a body as somebody would declare it for encoding/json.
type whole struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	Conversation webhooks.Conversation `json:"conversation"`
	Change       change                `json:"change"`
	History      history               `json:"history"`
}

type change struct {
	EventID         string           `json:"event_id"`
	Position        int64            `json:"position"`
	Version         int64            `json:"version"`
	PreviousVersion int64            `json:"previous_version"`
	Actor           string           `json:"actor"`
	Message         webhooks.Message `json:"message"`
}

type history struct {
	Mode        string             `json:"mode"`
	FromVersion int64              `json:"from_version"`
	ToVersion   int64              `json:"to_version"`
	Items       []webhooks.Message `json:"items"`
	Truncated   bool               `json:"truncated"`
	Next        *string            `json:"next"`
}

// BenchmarkBody renders a message that was posted, with all messages before it.
func BenchmarkBody(b *testing.B) {
	webhookstest.BenchmarkBody(b, verbatim.New(), "conversation.message_posted", func(e *webhooks.PublicEvent) any {
		h := e.History
		// As many as fit, which is what a body has.
		items := h.Items(&webhooks.Fragment{Key: verbatim.Name}, -1, verbatim.MaxHistoryBytes)
		var where *string
		if items.Left > 0 {
			path := next(int(h.Messages[items.From].Version))
			where = &path
		}
		m := webhooks.NewMessage(e.Recorded, e.Event.(conversation.MessagePosted))
		return whole{e.Name, e.Time.Truncate(time.Millisecond), data{
			h.Conversation,
			change{e.ID.String(), e.Position, e.Version, e.Version - 1, e.DecodeMetadata().Actor, m},
			history{"full", h.Messages[items.From].Version, e.Version, h.Messages[items.From:], items.Left > 0, where},
		}}
	})
}
