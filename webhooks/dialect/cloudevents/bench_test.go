package cloudevents_test

import (
	"fmt"
	"testing"
	"time"

	"verbatim/domain/conversation"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/cloudevents"
	"verbatim/webhooks/dialect/verbatim"
	"verbatim/webhooks/webhookstest"
)

// A structured event as somebody would declare it for encoding/json.
type structured struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Sequence        string    `json:"sequence"`
	PartitionKey    string    `json:"partitionkey"`
	CorrelationID   string    `json:"correlationid,omitempty"`
	Data            data      `json:"data"`
}

type data struct {
	Conversation webhooks.Conversation `json:"conversation"`
	Change       struct {
		EventID         string           `json:"event_id"`
		Position        int64            `json:"position"`
		Version         int64            `json:"version"`
		PreviousVersion int64            `json:"previous_version"`
		Actor           string           `json:"actor"`
		Message         webhooks.Message `json:"message"`
	} `json:"change"`
	History struct {
		Mode        string             `json:"mode"`
		FromVersion int64              `json:"from_version"`
		ToVersion   int64              `json:"to_version"`
		Items       []webhooks.Message `json:"items"`
		Truncated   bool               `json:"truncated"`
		Next        *string            `json:"next"`
	} `json:"history"`
}

// BenchmarkBody renders a message that was posted, with all messages before it.
func BenchmarkBody(b *testing.B) {
	webhookstest.BenchmarkBody(b, cloudevents.New(), "conversation.message_posted", func(e *webhooks.PublicEvent) any {
		h, m := e.History, e.DecodeMetadata()
		s := structured{
			SpecVersion: "1.0", ID: e.ID.String(), Source: "/accounts/" + e.Account, Type: "verbatim." + e.Name,
			Subject: "conversation/" + h.Conversation.ID, Time: e.Time, DataContentType: "application/json",
			Sequence: fmt.Sprintf("%020d", e.Position), PartitionKey: e.Stream, CorrelationID: m.Correlation,
		}
		s.Data.Conversation = h.Conversation
		change, history := &s.Data.Change, &s.Data.History
		change.EventID, change.Actor = e.ID.String(), m.Actor
		change.Position, change.Version, change.PreviousVersion = e.Position, e.Version, e.Version-1
		change.Message = webhooks.NewMessage(e.Recorded, e.Event.(conversation.MessagePosted))
		// As many items as fit, which is what a body has.
		items := h.Items(&webhooks.Fragment{Key: verbatim.Name}, -1, verbatim.MaxHistoryBytes)
		history.Mode, history.Items, history.ToVersion = "full", h.Messages[items.From:], e.Version
		history.FromVersion = history.Items[0].Version
		if items.Left > 0 {
			next := fmt.Sprintf("/v1/conversations/%s/messages?before=%d", h.Conversation.ID, history.FromVersion)
			history.Truncated, history.Next = true, &next
		}
		return s
	})
}
