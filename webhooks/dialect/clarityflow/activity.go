package clarityflow

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// appendActivity appends what happened around a conversation: the members that
// the format defines, then all others of its data in the order given.
func appendActivity(dst []byte, p *webhooks.PublicEvent, e conversation.ActivityRecorded, at *place) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, wholeOr(e.Data, "id", p.Position), 10)
	switch e.Kind {
	case conversation.AppointmentScheduled, conversation.ProductPurchased:
		dst = appendOthers(dst, e.Data, "id")
	case conversation.FormSubmitted:
		form := e.Data.Object("form")
		dst = append(dst, `,"form":{"id":`...)
		if id, ok := whole(form.Get("id")); ok {
			dst = strconv.AppendInt(dst, id, 10)
		} else {
			dst = append(dst, "null"...)
		}
		dst = append(dst, `,"title":`...)
		dst = webhooks.AppendStringHTML(dst, form.String("title"))
		dst = append(dst, `},"conversation_slug":"`...)
		dst = append(dst, at.slug...)
		dst = append(dst, `","submitter":`...)
		dst = appendAuthor(dst, cmp.Or(personIn(e.Data, "submitter"), person(e.By), &p.History.Conversation.Customer))
		dst = append(dst, `,"answers":`...)
		dst = appendAnswers(dst, e.Data)
		dst = append(dst, `,"created_at":`...)
		dst = appendSlipped(dst, timeOr(e.Data, "created_at", p.Time))
		dst = appendOthers(dst, e.Data, "id", "form", "conversation_slug", "submitter", "answers", "created_at")
	case conversation.TaskCompleted:
		dst = append(dst, `,"title":`...)
		dst = webhooks.AppendStringHTML(dst, e.Data.String("title"))
		dst = append(dst, `,"completed_at":`...)
		dst = appendSlipped(dst, timeOr(e.Data, "completed_at", p.Time))
		dst = append(dst, `,"conversation_slug":"`...)
		dst = append(dst, at.slug...)
		dst = append(dst, `","completed_by":`...)
		if who := cmp.Or(personIn(e.Data, "completed_by"), person(e.By)); who != nil {
			dst = appendAuthor(dst, who)
		} else {
			dst = append(dst, "null"...)
		}
		dst = appendOthers(dst, e.Data, "id", "title", "completed_at", "conversation_slug", "completed_by")
	}
	return append(dst, '}')
}

// appendOthers appends the members of data that the format does not define.
func appendOthers(dst []byte, data domain.Attributes, defined ...string) []byte {
	for i := range data {
		if slices.Contains(defined, data[i].Key) {
			continue
		}
		dst = append(dst, ',')
		dst = append(webhooks.AppendStringHTML(dst, data[i].Key), ':')
		dst = webhooks.AppendRawHTML(dst, data[i].Value)
	}
	return dst
}

// appendAnswers appends the answers to a form. They are given as the format has
// them, or as an object of answers by question.
func appendAnswers(dst []byte, data domain.Attributes) []byte {
	dst = append(dst, '[')
	first := true
	answer := func(question string, answer json.RawMessage) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, `{"question":`...)
		dst = webhooks.AppendStringHTML(dst, question)
		dst = append(dst, `,"answer":`...)
		dst = append(webhooks.AppendRawHTML(dst, answer), '}')
	}
	for _, at := range data.Object("answers") {
		answer(at.Key, at.Value)
	}
	var list []json.RawMessage
	if json.Unmarshal(data.Get("answers"), &list) != nil {
		list = nil // it was the object, or nothing that answers anything
	}
	for _, item := range list {
		var one domain.Attributes
		if json.Unmarshal(item, &one) == nil && one != nil {
			answer(one.String("question"), one.Get("answer"))
		}
	}
	return append(dst, ']')
}

// personIn returns the person that data describes under key, or nil.
func personIn(data domain.Attributes, key string) *domain.Person {
	o := data.Object(key)
	if len(o) == 0 {
		return nil
	}
	return &domain.Person{
		Name:      cmp.Or(o.String("full_name"), o.String("name")),
		FirstName: o.String("first_name"), LastName: o.String("last_name"), Email: o.String("email"),
	}
}

// person returns p unless it is nobody: the system is none.
func person(p *domain.Person) *domain.Person {
	if p == nil || p.Role == domain.System {
		return nil
	}
	return p
}
