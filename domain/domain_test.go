package domain_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"verbatim/domain"
)

func TestRefusal(t *testing.T) {
	t.Parallel()
	const no domain.Refusal = "conversation.already_closed"
	if no.Error() != "conversation.already_closed" {
		t.Errorf("a refusal reads %q; want its code", no.Error())
	}
	wrapped := fmt.Errorf("execute: %w", no)
	if !errors.Is(wrapped, no) || errors.Is(wrapped, domain.Refusal("conversation.not_closed")) {
		t.Error("a wrapped refusal is not told from another")
	}
	if got, ok := errors.AsType[domain.Refusal](wrapped); !ok || got != no {
		t.Errorf("a wrapped refusal is found as %q", got)
	}
}

func TestFieldError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ field, within, want string }{
		{"id", "author", "author.id: must not be empty"},
		{"author.id", "message", "message.author.id: must not be empty"},
		{"[3].url", "attachments", "attachments[3].url: must not be empty"},
		{"attachments[3].url", "message", "message.attachments[3].url: must not be empty"},
	} {
		inner := &domain.FieldError{Field: tt.field, Rule: "must not be empty"}
		if got := inner.Within(tt.within).Error(); got != tt.want {
			t.Errorf("%s within %s is %q; want %q", tt.field, tt.within, got, tt.want)
		}
		if inner.Field != tt.field {
			t.Errorf("Within changed its receiver to %q", inner.Field)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, rule string }{
		{name: "nothing"},
		{name: "the longest", value: "abc"},
		{name: "the longest in characters", value: "😀😀😀"},
		{name: "one character more", value: "abcd", rule: "must be at most 3 characters"},
		{name: "one long character more", value: "😀😀😀😀", rule: "must be at most 3 characters"},
		{name: "not UTF-8", value: "\xff", rule: "must be valid UTF-8"},
		{name: "half a character", value: "a\xf0\x9f", rule: "must be valid UTF-8"},
		{name: "not UTF-8 and too long", value: strings.Repeat("\xff", 9), rule: "must be valid UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkFault(t, domain.Text("field", tt.value, 3), "field", tt.rule)
		})
	}
}

// checkFault checks that err complains about that field with that rule, or that
// there is no error if the rule is "".
func checkFault(t *testing.T, err error, field, rule string) {
	t.Helper()
	if rule == "" {
		if err != nil {
			t.Errorf("got the error %v; want none", err)
		}
		return
	}
	fault, ok := errors.AsType[*domain.FieldError](err)
	if !ok || fault.Field != field || fault.Rule != rule {
		t.Errorf("got the error %v; want %s: %s", err, field, rule)
	}
}
