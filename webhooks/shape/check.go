package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Check returns an error that names the place unless body is one JSON value of
// the shape s. It is stricter than a schema: members must stand in their order,
// and none may be there twice.
func Check(s Shape, body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := check(dec, &s, "$"); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("$: more than one value")
	}
	return nil
}

func check(dec *json.Decoder, s *Shape, at string) error {
	if len(s.OneOf) > 0 {
		return checkEither(dec, s, at)
	}
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return checkObject(dec, s, at)
		}
		return checkArray(dec, s, at)
	case nil:
		return s.mustBe(Null, at)
	case bool:
		return s.mustBe(Boolean, at)
	case json.Number:
		if _, err := strconv.ParseInt(t.String(), 10, 64); err == nil && s.Kind != Number {
			return s.mustBe(Integer, at)
		}
		return s.mustBe(Number, at)
	case string:
		if err := s.mustBe(String, at); err != nil || s.Kind == Any {
			return err
		}
		return s.checkString(t, at)
	default:
		return fmt.Errorf("%s: a token of type %T", at, t)
	}
}

func (s Shape) mustBe(k Kind, at string) error {
	if s.Kind == Any || s.Kind == k || k == Null && s.Nullable {
		return nil
	}
	return fmt.Errorf("%s: is %s, must be %s", at, k, s.Kind)
}

func checkEither(dec *json.Decoder, s *Shape, at string) error {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if s.Nullable && string(raw) == "null" {
		return nil
	}
	var why []error
	for i := range s.OneOf {
		inner := json.NewDecoder(bytes.NewReader(raw))
		inner.UseNumber()
		err := check(inner, &s.OneOf[i], at)
		if err == nil {
			return nil
		}
		why = append(why, err)
	}
	return fmt.Errorf("%s: none of the shapes it may have: %w", at, errors.Join(why...))
}

func checkArray(dec *json.Decoder, s *Shape, at string) error {
	if err := s.mustBe(Array, at); err != nil {
		return err
	}
	items := s.Items
	if items == nil {
		items = &Shape{}
	}
	for i := 0; dec.More(); i++ {
		if err := check(dec, items, at+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	return closed(dec, at)
}

func checkObject(dec *json.Decoder, s *Shape, at string) error {
	if err := s.mustBe(Object, at); err != nil {
		return err
	}
	rest := s.Rest
	if s.Kind == Any {
		rest = &Shape{}
	}
	next := 0 // the first member that may still come
	var seen []string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		name, _ := token.(string)
		here := at + "." + name
		if slices.Contains(seen, name) {
			return fmt.Errorf("%s: is there twice", here)
		}
		seen = append(seen, name)
		i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Name == name })
		switch {
		case i < 0 && rest == nil:
			return fmt.Errorf("%s: is not a member", here)
		case i < 0:
			if err := check(dec, rest, here); err != nil {
				return err
			}
			continue
		case i < next:
			return fmt.Errorf("%s: stands behind %s", here, s.Members[next-1].Name)
		}
		next = i + 1
		if err := check(dec, &s.Members[i].Shape, here); err != nil {
			return err
		}
	}
	for i := range s.Members {
		if m := &s.Members[i]; !m.Optional && !slices.Contains(seen, m.Name) {
			return fmt.Errorf("%s.%s: is missing", at, m.Name)
		}
	}
	return closed(dec, at)
}

func closed(dec *json.Decoder, at string) error {
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

func (s Shape) checkString(v, at string) error {
	if len(s.Values) > 0 && !slices.Contains(s.Values, v) {
		return fmt.Errorf("%s: is %q, must be one of %s", at, v, strings.Join(s.Values, ", "))
	}
	if s.Pattern != "" {
		re := s.compiled
		if re == nil {
			var err error
			if re, err = regexp.Compile(s.Pattern); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
		}
		if !re.MatchString(v) {
			return fmt.Errorf("%s: is %q, must match %s", at, v, s.Pattern)
		}
	}
	switch s.Format {
	case "uuid":
		if err := uuid.Validate(v); err != nil || len(v) != len(uuid.Nil.String()) {
			return fmt.Errorf("%s: is %q, must be a UUID", at, v)
		}
	case "date-time":
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return fmt.Errorf("%s: is %q, must be a time as in RFC 3339", at, v)
		}
	}
	return nil
}
