package eventstore

import (
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
)

// Catalogue returns the codec of every fact there is. This is the one list.
func Catalogue() *Codec {
	return NewCodec(
		KindOf[conversation.Created](),
		KindOf[conversation.MessagePosted](),
		KindOf[conversation.MessageEdited](),
		KindOf[conversation.MessageDeleted](),
		KindOf[conversation.TypingStarted](),
		KindOf[conversation.TypingStopped](),
		KindOf[conversation.StatusChanged](),
		KindOf[conversation.Closed](),
		KindOf[conversation.Reopened](),
		KindOf[conversation.Assigned](),
		KindOf[conversation.Unassigned](),
		KindOf[conversation.AttributesChanged](),
		KindOf[conversation.CustomerUpdated](),
		KindOf[conversation.Read](),
		KindOf[conversation.MessagePlayed](),
		KindOf[conversation.ActivityRecorded](),

		KindOf[contact.Created](),
		KindOf[contact.Updated](),
		KindOf[contact.WidgetTriggered](),
		KindOf[contact.Erased](),

		KindOf[endpoint.Registered](),
		KindOf[endpoint.Updated](),
		KindOf[endpoint.SecretRotated](),
		KindOf[endpoint.Disabled](),
		KindOf[endpoint.Enabled](),
		KindOf[endpoint.Failing](),
		KindOf[endpoint.Recovered](),
		KindOf[endpoint.Exhausted](),
		KindOf[endpoint.Deleted](),
	)
}
