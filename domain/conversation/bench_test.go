package conversation_test

import (
	"testing"

	"verbatim/domain/conversation"
)

// BenchmarkDecideMessage is the rule that runs most often: the customer writes,
// having typed before, in a conversation that has an agent.
func BenchmarkDecideMessage(b *testing.B) {
	customer := ann
	customer.Attributes = attributes(`{"current_page":"https://example.com/shoes?size=40&colour=red",
		"browser_name":"Firefox","browser_version":"149.0","operating_system":"Linux","language":"en"}`)
	s := rules.Fold(
		conversation.Created{Account: account, Inbox: inbox, Customer: customer},
		said(amy, "hi"), conversation.Assigned{Agent: amy},
		typing(customer, false, noon.Add(conversation.DefaultTypingTTL)),
	)
	var c conversation.Command = conversation.PostMessage{MessageID: "m", Text: "Do you have these in red?"}
	b.ReportAllocs()
	for b.Loop() {
		if events, err := conversation.Decide(s, c, noon); err != nil || len(events) != 2 {
			b.Fatalf("got events %+v and error %v; want two events", events, err)
		}
	}
}
